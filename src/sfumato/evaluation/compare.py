"""Two ways to make pictures, side by side: the same seeds, the same reference, the same draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.comparison import Comparison, Difference
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.intervals import Interval, interval, once_each
from sfumato.evaluation.measures import LEVEL, MEASURES, Statistics, bounded, check_draws, draws_for, measured, named
from sfumato.evaluation.method import Making, Method, Network, RealSet
from sfumato.evaluation.real import Real, is_training, sides
from sfumato.evaluation.reference import reference_features
from sfumato.evaluation.samples import Samples, check_out, identity, make_samples
from sfumato.evaluation.work import Progress, check_size, features_of, ordered
from sfumato.generation.model import Model
from sfumato.generation.request import Request

__all__ = ["Compared", "Side", "compare"]

SHOWN = 36  # pictures in a grid


@dataclass(frozen=True, eq=False)
class Side:
    """One way to make pictures."""

    model: Model
    request: Request


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison, and the first pictures of both sides, of equal seeds: uint8 (k, H, W, C)."""

    comparison: Comparison
    a: np.ndarray
    b: np.ndarray


def compare(
    a: Side,
    b: Side,
    real: Real,
    extractor: Extractor,
    out: Path,
    *,
    n: int | None = None,
    seed: int = 0,
    draws: int | None = None,
    batch: int = 64,
    progress: Progress = None,
) -> Compared:
    """Measure two models, or two settings of one.

    Args:
        a, b: which.
        real: the real pictures, of A's size.
        out: folder for the samples of both, which a comparison that was interrupted goes on with.
        extractor, n, seed, draws, batch, progress: as for `evaluate`.

    Raises:
        InputError: where A and B are the same, or their pictures of different sizes; and as `evaluate`.
    """
    rows = sides(real.data, n).reference
    n = len(rows)
    draws = check_draws(draws_for(n) if draws is None else draws)
    check_out(out, "a", "b")
    tell = progress or (lambda stage, done, total: None)

    def counted(stage: str) -> Callable[[int], None]:
        return lambda done: tell(stage, done, n)

    for side in (a, b):
        check_size(side.model, side.request, real.data)
    with once_each():
        orders = [ordered(side.model, side.request, n, seed) for side in (a, b)]
        if identity(*orders[0]) == identity(*orders[1]):
            raise InputError("A and B are the same model with the same settings: there is nothing to compare")
        samples, made = [], []
        for (order, table), name in zip(orders, "ab", strict=True):
            samples.append(
                make_samples(order, table, out / name, batch=batch, progress=counted(f"samples of {name.upper()}"))
            )
            made.append(features_of(samples[-1], extractor, partial(tell, f"features of {name.upper()}")))
        target = reference_features(extractor, real.data, rows, counted("features of real pictures"))
        both = _Both(Statistics(made[0], target, extractor), Statistics(made[1], target, extractor))
        found = measured(both, n, draws, partial(tell, "intervals"))
    reference, network = RealSet.of(real.data, rows, "drawn by seed 0", real.trained), Network.of(extractor)
    methods = [Method(Making.of(*order), reference, network) for order in orders]
    differences = tuple(
        Difference(
            measure,
            named(measure, extractor.name),
            bounded(measure, found[f"{measure} of A"]),
            bounded(measure, found[f"{measure} of B"]),
            found[f"{measure} of A less that of B"],
            *methods,
        )
        for measure in MEASURES
        if f"{measure} of A" in found
    )
    shown = np.arange(min(SHOWN, n))
    return Compared(
        Comparison(differences, _apart(*samples), (*real.notes, *_unequal(a, b, real))),
        samples[0].take(shown),
        samples[1].take(shown),
    )


class _Both:
    """Every measure of A, of B, and the difference, of the same samples and the same real pictures."""

    def __init__(self, a: Statistics, b: Statistics) -> None:
        self.a, self.b = a, b

    def whole(self, samples: np.ndarray, real: np.ndarray) -> dict[str, float]:
        return _beside(self.a.whole(samples, real), self.b.whole(samples, real))

    def pairwise(self, samples: np.ndarray, real: np.ndarray) -> dict[str, float]:
        return _beside(self.a.pairwise(samples, real), self.b.pairwise(samples, real))


def _beside(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    found = {}
    for measure in a:
        found[f"{measure} of A"] = a[measure]
        found[f"{measure} of B"] = b[measure]
        found[f"{measure} of A less that of B"] = a[measure] - b[measure]
    return found


def _apart(a: Samples, b: Samples) -> Interval:
    """Root mean square difference of each picture of A and that of B from the same seed."""
    found = []
    for one, other in zip(a.pieces(), b.pieces(), strict=True):
        square = (one.astype(np.float64) - other) ** 2
        found.append(np.sqrt(square.mean((1, 2, 3))))
    return interval(np.mean, np.concatenate(found), method="percentile", level=LEVEL)


def _unequal(a: Side, b: Side, real: Real) -> list[str]:
    """Whether the reference favours one of them."""
    trained = [is_training(real.data, side.model.spec) for side in (a, b)]
    if trained[0] == trained[1]:
        return []
    one, other = ("A", "B") if trained[0] else ("B", "A")
    return [f"The reference is what {one} was trained on and {other} was not: that favours {one}."]
