"""The numbers of an evaluation: which there are, what each means, and all of them for any part of the pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.diversity import vendi_score
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.feature_sets import feature_set
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.inception_score import classifier_score
from sfumato.evaluation.intervals import Interval, intervals
from sfumato.evaluation.names import metric_name
from sfumato.evaluation.pairwise import MOST, Pairwise

__all__ = [
    "LEAST",
    "LEVEL",
    "MEASURES",
    "Measure",
    "Statistics",
    "bounded",
    "check_draws",
    "check_number",
    "draws_for",
    "measured",
    "named",
]

K = 5  # neighbours, as Naeem et al. take
LEAST = 4 * K  # pictures on a side: half of them, in a draw, still have K neighbours and more than one to spare
LEVEL = 0.95

Better = Literal["lower", "higher", "as real"]


@dataclass(frozen=True)
class Measure:
    """What a number means.

    Attributes:
        title: its name.
        better: which way.
        means: a line about it.
        least, most: what it cannot pass.
    """

    title: str
    better: Better
    means: str
    least: float = -math.inf
    most: float = math.inf


MEASURES = {
    "fd": Measure(
        "Fréchet distance",
        "lower",
        "How far the samples as a whole are from real pictures, in how they look and how they vary.",
        least=0,
    ),
    "kd": Measure(
        "Kernel distance",
        "lower",
        "The same question asked without taking features for Gaussians, and without bias: it compares across n.",
    ),
    "mmd": Measure(
        "Maximum mean discrepancy",
        "lower",
        "The same again, by the angles between features (times 1000, as CMMD has it). Without bias, too.",
    ),
    "precision": Measure(
        "Precision", "higher", "Share of samples that lie among real pictures: are they good?", least=0, most=1
    ),
    "recall": Measure(
        "Recall", "higher", "Share of real pictures that lie among the samples: are all kinds there?", least=0, most=1
    ),
    "density": Measure(
        "Density",
        "as real",
        "How many real pictures a sample lies among. Above that of real pictures it keeps to the most usual ones.",
        least=0,
    ),
    "coverage": Measure("Coverage", "higher", "Share of real pictures that have a sample near by.", least=0, most=1),
    "vendi": Measure(
        "Vendi score",
        "as real",
        "How many different pictures there are in effect. It knows nothing of how real they are.",
        least=1,
    ),
    "classifier": Measure(
        "Classifier score",
        "as real",
        "How sure the extractor's classifier is of each picture, and how varied over all. It knows no real pictures.",
        least=1,
    ),
}


def named(measure: str, network: str) -> str:
    """What a measure is called on the features of a network, such as FD-EffNetLite0."""
    short = {"fd": "FD", "kd": "KD", "mmd": "MMD", "classifier": "ClassifierScore"}
    return metric_name(short[measure], network) if measure in short else MEASURES[measure].title


def draws_for(n: int) -> int:
    """Draws for an interval: 100, or from 2,001 pictures on 40, as each then takes seconds."""
    return 100 if n <= 2_000 else 40


class Statistics:
    """All measures of one set of samples beside one of real pictures, for any part of both.

    Args:
        samples: features (n, D).
        real: features (m, D).
        extractor: what made them.

    Raises:
        InputError: for features that are no finite numbers, of different widths, or of too few pictures.
    """

    def __init__(self, samples: np.ndarray, real: np.ndarray, extractor: Extractor) -> None:
        self.samples = feature_set(samples, LEAST, "the samples' features")
        self.real = feature_set(real, LEAST, "the real features")
        self.near = Pairwise.of(real[:MOST], samples[:MOST])
        self.classes = extractor.probabilities(samples) if extractor.probabilities else None

    def whole(self, samples: np.ndarray, real: np.ndarray) -> dict[str, float]:
        """Those whose work grows as the number of pictures does, of the pictures with these numbers."""
        values = {
            "fd": frechet_distance(self.samples[samples], self.real[real]),
            "vendi": vendi_score(self.samples[samples]),
        }
        if self.classes is not None:
            values["classifier"] = classifier_score(self.classes[samples], splits=1).value
        return values

    def pairwise(self, samples: np.ndarray, real: np.ndarray) -> dict[str, float]:
        """Those of all pairs of pictures, for numbers below `MOST`."""
        part = self.near.part(real, samples)
        prdc = part.prdc(K)
        return {
            "kd": part.kid(),
            "mmd": part.cmmd(),
            "precision": prdc.precision,
            "recall": prdc.recall,
            "density": prdc.density,
            "coverage": prdc.coverage,
        }


class Measurable(Protocol):
    """What `measured` asks: numbers by name, of the samples and of the real pictures with these numbers."""

    def whole(self, samples: np.ndarray, real: np.ndarray) -> dict[str, float]: ...

    def pairwise(self, samples: np.ndarray, real: np.ndarray) -> dict[str, float]: ...


def measured(
    statistics: Measurable,
    n: int,
    draws: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Interval]:
    """Every measure with its interval.

    Args:
        statistics: of n samples and n real pictures.
        n: measures of pairs are of the first `MOST` of them.
        draws: default: `draws_for(n)`.
        progress: called with the draws done, and of all.
    """
    check_number(n)
    draws = draws_for(n) if draws is None else draws
    found: dict[str, Interval] = {}
    for kind, (statistic, numbers) in enumerate(
        [(statistics.whole, np.arange(n)), (statistics.pairwise, np.arange(min(n, MOST)))]
    ):
        told = None if progress is None else lambda i, of, kind=kind: progress(kind * of + i, 2 * of)
        found |= intervals(statistic, numbers, numbers, method="half", level=LEVEL, draws=draws, progress=told)
    return found


def bounded(measure: str, interval: Interval) -> Interval:
    """An interval without what the measure cannot be: it holds the truth as often, and misleads less."""
    least, most = MEASURES[measure].least, MEASURES[measure].most
    return replace(interval, low=max(interval.low, least), high=min(interval.high, most))


def check_number(n: int) -> None:
    """Raise `InputError` for too few pictures to measure anything."""
    if n < LEAST:
        raise InputError(f"an evaluation needs {LEAST} pictures on each side at least, not {n}: take more")


def check_draws(draws: int) -> int:
    """Return `draws`; raise `InputError` for too few."""
    least = round(2 / (1 - LEVEL))
    if draws < least:
        raise InputError(f"an interval of {LEVEL:.0%} needs {least} draws at least, not {draws}")
    return draws
