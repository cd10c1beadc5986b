"""How far a number would move with other pictures: intervals of any statistic, by drawing from those there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sfumato.errors import InputError, nearest
from sfumato.seeds import Stream, check_seed, generator, permutation

__all__ = ["Interval", "Method", "interval"]

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
        method, draws, seed: as asked.
        n: pictures in each set. A Fréchet distance, or a precision, compares only with one of equal n.
    """

    value: float
    estimate: float
    low: float
    high: float
    level: float
    method: Method
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
    quantiles of what they give. For means and shares. **Not for distances**: the value of a Fréchet distance is too
    large already, and that of drawn pictures, fewer of which are different, is larger still, so the interval may lie
    wholly above the truth. For a kernel distance and measures of neighbours, two copies of one picture are as near as
    can be, and count for what no two pictures are.

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
    with _once_each():
        value = _number(statistic, sets)
        found = np.array([_number(statistic, _draw(sets, method, seed, i)) for i in range(draws)])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    estimate = 2 * value - found.mean() if method == "limit" else value
    if method != "percentile":
        # not mirrored, as a basic interval is: distances spread more where they are larger, so that is too short above
        # (of Fréchet distances of Gaussians at a level of 90 %, 79 to 96 % hold the truth, of these 86 to 99 %)
        low, high = estimate + low - found.mean(), estimate + high - found.mean()
    sizes = tuple(len(s) for s in sets)
    return Interval(value, float(estimate), float(low), float(high), level, method, draws, seed, sizes)


def _draw(sets: tuple[np.ndarray, ...], method: Method, seed: int, draw: int) -> tuple[np.ndarray, ...]:
    drawn = []
    for i, rows in enumerate(sets):
        # from 1 on: number 0 with seed 0 parts data sets into the halves that are compared
        number, n = 1 + draw * len(sets) + i, len(rows)
        if method == "percentile":
            drawn.append(rows[generator(seed, number, Stream.SPLIT).integers(n, size=n)])
        else:
            drawn.append(rows[permutation(n, seed, Stream.SPLIT, number)[: n // 2]])
    return tuple(drawn)


def _number(statistic: Callable[..., float], sets: tuple[np.ndarray, ...]) -> float:
    value = float(statistic(*sets))
    if not np.isfinite(value):
        sizes = ", ".join(str(len(s)) for s in sets)
        raise InputError(f"the statistic of {sizes} pictures is {value}: it has no interval; take more pictures")
    return value


@contextmanager
def _once_each() -> Iterator[None]:
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
