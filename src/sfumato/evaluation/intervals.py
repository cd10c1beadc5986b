"""How far a number would move with other pictures: intervals of any statistic, by drawing from those there are."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np

from sfumato.errors import InputError, nearest
from sfumato.seeds import Stream, check_seed, generator, permutation

__all__ = ["Interval", "Method", "interval", "intervals", "once_each", "share_interval"]

Method = Literal["percentile", "half", "limit"]
log = logging.getLogger("sfumato")


@dataclass(frozen=True)
class Interval:
    """An interval and everything it depends on.

    Attributes:
        value: the statistic of all pictures.
        estimate: of what the interval is for: `value`, or with the method "limit" that less its bias.
        low, high: the ends.
        level: the share of such intervals that hold the truth.
        method, draws, seed: as asked; or "wilson", without draws, see `share_interval`.
        n: pictures in each set. A Fréchet distance, or a precision, compares only with one of equal n.
    """

    value: float
    estimate: float
    low: float
    high: float
    level: float
    method: Literal["percentile", "half", "limit", "wilson"]
    draws: int
    seed: int
    n: tuple[int, ...]


def interval(
    statistic: Callable[..., float],
    *sets: np.ndarray,
    method: Method = "half",
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """An interval of `statistic(*sets)`, each set being drawn from on its own.

    The methods:

    "percentile", the bootstrap (Efron 1979): as many pictures as there are, with replacement; the interval lies between
    quantiles of what they give. For means; for shares there is `share_interval`. **Not for distances**: the value of a
    Fréchet distance is too large already, and that of drawn pictures, fewer of which are different, is larger still, so
    the interval may lie wholly above the truth. For a kernel distance and measures of neighbours, two copies of one
    picture are as near as can be, and count for what no two pictures are.

    "half", half of the pictures, without replacement, so there are no copies. The mean over a random half strays from
    that over all n by as much as that strays from the truth: by s²·(1/m - 1/n), which is s²/n at m = n/2 (Politis,
    Romano & Wolf 1999, "Subsampling"). How far halves stray from their own mean is laid about the value. For what the
    statistic would be on average **at this n**: a Fréchet distance beside others of equal n.

    "limit", the same about the value less its bias, for a bias that falls like 1/n, as a Fréchet distance's does where
    n is well above D (Chong & Forsyth 2020): halves have twice the bias, so they stand above the value by as much as it
    stands above the truth. For the distance of **infinitely many** pictures. The interval need not hold `value`, and
    near a distance of zero it reaches below zero.

    Numbers compare only at equal n, "limit" apart. To compare two models by one reference take the difference as the
    statistic of three sets: then what the reference adds to both cancels.

    Args:
        statistic: a function of as many sets as there are, to a number. What it logs of draws is passed on once.
        sets: arrays with a row a picture: features, pixels, probabilities.
        method: above.
        level: between 0 and 1.
        draws: enough that at least one lies beyond each end: 2/(1 - level).
        seed: which; the same one gives the same interval.

    Raises:
        InputError: for too few pictures or draws, or a statistic that is no finite number.
    """
    options = {"method": method, "level": level, "draws": draws, "seed": seed}
    return intervals(lambda *drawn: {"the statistic": statistic(*drawn)}, *sets, **options)["the statistic"]


def intervals(
    statistics: Callable[..., Mapping[str, float]],
    *sets: np.ndarray,
    method: Method = "half",
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Interval]:
    """`interval` of several statistics by the same draws: all are asked of each draw at once.

    Where a set holds numbers of pictures instead of pictures, what lies between pairs of them need be computed once
    only; and where pictures belong together, as those of equal seeds do, one set of numbers draws them together.

    Args:
        statistics: a function of as many sets as there are, to names and numbers.
        progress: called with the number of draws done, and of all.
        sets, method, level, draws, seed: and what is raised: as for `interval`.
    """
    if method not in get_args(Method):
        raise InputError(f"there is no method {method!r}. {nearest(method, get_args(Method))}")
    check_seed(seed)
    sets = tuple(np.asarray(s) for s in sets)
    least = 2 if method == "percentile" else 4
    if not sets or any(not s.ndim or len(s) < least for s in sets):
        sizes = ", ".join(str(s.shape) for s in sets) or "none"
        raise InputError(f"an interval needs one or more sets of {least} pictures at least, not {sizes}")
    if not 0 < level < 1 or draws * (1 - level) < 2 - 1e-9:
        raise InputError(
            f"level must be between 0 and 1, and draws at least 2/(1 - level), not {level} and {draws}: "
            "take more draws or a lower level"
        )
    with once_each():
        values = _numbers(statistics, sets)
        found: dict[str, list[float]] = {name: [] for name in values}
        for i in range(draws):
            for name, number in _numbers(statistics, _draw(sets, method, seed, i)).items():
                found[name].append(number)
            if progress:
                progress(i + 1, draws)
    sizes = tuple(len(s) for s in sets)
    return {
        name: Interval(value, *_ends(value, np.array(found[name]), method, level), level, method, draws, seed, sizes)
        for name, value in values.items()
    }


def share_interval(hits: np.ndarray, level: float = 0.95) -> Interval:
    """Interval of a share, from True or False of each picture (Wilson 1927): all p with (share - p)² ≤ z²·p·(1 - p)/n.

    Where none is hit, none of the drawn ones would be, so a bootstrap would be sure of 0; this ends at about 4/n.

    Args:
        hits: (n,) bool.
        level: between 0 and 1.

    Raises:
        InputError: for no pictures.
    """
    hits = np.asarray(hits)
    if hits.ndim != 1 or not len(hits) or hits.dtype != bool or not 0 < level < 1:
        raise InputError(f"a share is of (n,) bool at a level between 0 and 1, not {hits.dtype} {hits.shape}, {level}")
    n, share, z = len(hits), float(hits.mean()), NormalDist().inv_cdf((1 + level) / 2)
    centre, width = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + way * width) / (1 + z**2 / n) for way in (-1, 1))
    return Interval(share, share, max(low, 0.0), min(high, 1.0), level, "wilson", 0, 0, (n,))


def _ends(value: float, found: np.ndarray, method: Method, level: float) -> tuple[float, float, float]:
    """Estimate, low and high."""
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    estimate = 2 * value - found.mean() if method == "limit" else value
    if method != "percentile":
        # not mirrored, as a basic interval is: distances spread more where they are larger, so that is too short above
        # (of Fréchet distances of Gaussians at a level of 90 %, 79 to 96 % hold the truth, of these 86 to 99 %)
        low, high = estimate + low - found.mean(), estimate + high - found.mean()
    return float(estimate), float(low), float(high)


def _draw(sets: tuple[np.ndarray, ...], method: Method, seed: int, draw: int) -> tuple[np.ndarray, ...]:
    drawn = []
    for i, rows in enumerate(sets):
        number, n = draw * len(sets) + i, len(rows)
        if method == "percentile":
            drawn.append(rows[generator(seed, number, Stream.RESAMPLE).integers(n, size=n)])
        else:
            drawn.append(rows[permutation(n, seed, Stream.RESAMPLE, number)[: n // 2]])
    return tuple(drawn)


def _numbers(statistics: Callable[..., Mapping[str, float]], sets: tuple[np.ndarray, ...]) -> dict[str, float]:
    values = {name: float(value) for name, value in statistics(*sets).items()}
    for name, value in values.items():
        if not np.isfinite(value):
            sizes = ", ".join(str(len(s)) for s in sets)
            raise InputError(f"{name} of {sizes} pictures is {value}: it has no interval; take more pictures")
    return values


@contextmanager
def once_each() -> Iterator[None]:
    """Let each warning through once, not once a draw."""
    heard: set[object] = set()

    def new(record: logging.LogRecord) -> bool:
        known = record.msg in heard
        heard.add(record.msg)
        return not known

    log.addFilter(new)
    try:
        yield
    finally:
        log.removeFilter(new)
