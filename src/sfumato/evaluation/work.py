"""What evaluations are made of: samples and their features, measures of them, and what else one asks of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.evaluation.denoising import LossByTime, loss_by_time
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.feature_sets import feature_set
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.intervals import Interval, intervals
from sfumato.evaluation.measures import LEVEL, MEASURES, Statistics, bounded, measured, named
from sfumato.evaluation.method import Making, Method
from sfumato.evaluation.real import Real, Sides
from sfumato.evaluation.reference import reference_features
from sfumato.evaluation.report import Number
from sfumato.evaluation.samples import Samples, make_samples
from sfumato.generation.model import Model
from sfumato.generation.order import Order
from sfumato.generation.request import Request
from sfumato.generation.tables import note_scale
from sfumato.seeds import Stream, permutation
from sfumato.solvers import Table

__all__ = ["Progress", "Work", "check_size", "features_of", "ordered"]

DENOISED = 256  # pictures for the loss by time

Progress = Callable[[str, int, int], None] | None
"""Told what is being done, how much of it is done, and of how much."""


def ordered(model: Model, request: Request, n: int, seed: int) -> tuple[Order, Table]:
    """What is to be made, and the solver. Labels, or prompts, are drawn as often as in the training data."""
    table = model.table(request)
    order = Order.of(model, request, n, seed, None, None, drawn=True)
    note_scale(table, model.tuned, order.scale)
    return order, table


def features_of(samples: Samples, extractor: Extractor, tell: Callable[[int, int], None]) -> np.ndarray:
    """(n, D) of samples, a file of them at a time. Raises `InputError` for features that are not finite."""
    parts: list[np.ndarray] = []
    for pictures in samples.pieces():
        parts.append(extractor.features(pictures))
        tell(sum(map(len, parts)), len(samples))
    return feature_set(np.concatenate(parts), name=f"{extractor.name}'s features of samples")


def check_size(model: Model, request: Request, data: Dataset) -> None:
    """Raise `InputError` where samples would have another size than the real pictures."""
    made = (*(request.size or model.spec.size), model.spec.channels)
    if data.images.shape[1:] != made:
        raise InputError(f"{data.name} has pictures of {data.images.shape[1:]}, the samples are to be {made}")


@dataclass(frozen=True, eq=False)
class Work:
    """What the parts of an evaluation share."""

    model: Model
    real: Real
    sides: Sides
    extractor: Extractor
    out: Path
    request: Request
    seed: int
    draws: int
    batch: int
    tell: Callable[[str, int, int], None]

    @property
    def n(self) -> int:
        return len(self.sides.reference)

    def made(self, request: Request, folder: str) -> tuple[Samples, np.ndarray, Making]:
        """Samples, their features, and how they were made."""
        order = ordered(self.model, request, self.n, self.seed)
        samples = make_samples(
            *order, self.out / folder, batch=self.batch, progress=lambda done: self.tell(folder, done, self.n)
        )
        return (
            samples,
            features_of(samples, self.extractor, partial(self.tell, f"features of {folder}")),
            Making.of(*order),
        )

    def features(self, rows: np.ndarray, what: str) -> np.ndarray:
        """Of pictures of the data."""
        stage = f"features of {what}"
        return reference_features(self.extractor, self.real.data, rows, lambda done: self.tell(stage, done, len(rows)))

    def numbers(self, made: np.ndarray, target: np.ndarray, method: Method) -> tuple[Number, ...]:
        """Every measure of the samples, and of other real pictures where some are left."""
        found, among_real = self._measured(made, target, "samples"), {}
        if len(self.sides.other):
            other = self.features(self.sides.other, "other real pictures")
            among_real = self._measured(other, target, "real pictures")
        return tuple(
            Number(measure, named(measure, self.extractor.name), found[measure], among_real.get(measure), method)
            for measure in MEASURES
            if measure in found
        )

    def point(self, steps: int, target: np.ndarray, main: Number) -> Number:
        """The Fréchet distance at another number of steps."""
        if steps == main.method.making.steps:
            return main
        _, made, making = self.made(replace(self.request, steps=steps), f"curve/{steps}-steps")
        found = intervals(
            lambda i, j: {"fd": frechet_distance(made[i], target[j])},
            np.arange(self.n),
            np.arange(self.n),
            level=LEVEL,
            draws=self.draws,
            progress=partial(self.tell, f"interval at {steps} steps"),
        )
        return replace(main, value=bounded("fd", found["fd"]), method=replace(main.method, making=making))

    def losses(self) -> tuple[LossByTime, ...]:
        """Of the reference, and of what was held out. A model that fills in parts of pictures has none."""
        data, held_out = self.real.data, self.real.held_out
        if self.model.spec.fills_in:
            return ()
        reference = self.sides.reference[:DENOISED]
        sets = [(data, reference, f"the first {len(reference)} of the reference", self.real.trained)]
        if held_out is not None and held_out.fingerprint != data.fingerprint and len(held_out) > 1:
            sets.append((held_out, permutation(len(held_out), 0, Stream.SPLIT)[:DENOISED], "drawn by seed 0", False))
        return tuple(
            loss_by_time(
                self.model,
                data,
                rows,
                chosen=chosen,
                training=training,
                seed=self.seed,
                progress=partial(self.tell, f"denoising pictures of {data.name}"),
            )
            for data, rows, chosen, training in sets
        )

    def notes(self) -> list[str]:
        """What follows from the numbers of pictures."""
        notes, n, width = [], self.n, self.extractor.width
        if n <= width:
            notes.append(
                f"{n} pictures are few for {width} features: a Fréchet distance is then far too large. Compare it only "
                "with others of this n."
            )
        if not len(self.sides.other):
            count = len(self.real.data)
            notes.append(
                f"Of {count} real pictures too few are left beside a reference of {n} to tell how real pictures "
                f"compare with each other; up to n = {count // 2} there are enough."
            )
        return notes

    def _measured(self, features: np.ndarray, target: np.ndarray, what: str) -> dict[str, Interval]:
        statistics = Statistics(features, target, self.extractor)
        found = measured(statistics, self.n, self.draws, partial(self.tell, f"intervals of {what}"))
        return {measure: bounded(measure, interval) for measure, interval in found.items()}
