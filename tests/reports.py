"""A report made up by hand."""

from __future__ import annotations

from dataclasses import replace

from sfumato.evaluation.intervals import Interval
from sfumato.evaluation.likelihood import Estimate, Likelihood
from sfumato.evaluation.memorisation import Memorisation, Nearness, Pair
from sfumato.evaluation.method import Making, Method, Network, RealSet
from sfumato.evaluation.report import Number, Report

MAKING = Making(
    "tiny",
    "average",
    "a" * 64,
    "ddim",
    4,
    4,
    "trailing",
    "b" * 64,
    2.0,
    "nothing else",
    "none",
    (8, 8),
    "yes",
    "float32",
    0,
    40,
    "0.1.0",
)
REAL = RealSet("squares", "c" * 64, 80, 40, "drawn by seed 0", "d" * 64, True)
NETWORK = Network("Toy", "e" * 64, "x/255", "none")
METHOD = Method(MAKING, REAL, NETWORK)


def interval(value: float = 1.0, low: float = 0.5, high: float = 1.5, n: tuple[int, ...] = (40, 40)) -> Interval:
    return Interval(value, value, low, high, 0.95, "half", 100, 0, n)


NEAR = Nearness(
    "pixels",
    interval(0.1, 0.05, 0.15),
    0.01,
    0.01,
    12.5,
    0.002,
    interval(0.5),
    interval(0.6),
    20.0,
    30.0,
    (Pair(3, 17, 1.5),),
    MAKING,
    REAL,
    REAL,
    None,
)
LIKELIHOOD = Likelihood(
    "bound",
    Estimate(3.5, 0.1),
    {"L_T": Estimate(0.0, 0.0), "L_0": Estimate(1.2, 0.3)},
    16,
    80,
    "squares",
    "c" * 64,
    "tiny",
    "average",
    "a" * 64,
    "nothing",
    0,
    1000,
    1000,
    {"terms": "all"},
)
REPORT = Report(
    (
        Number("fd", "FD-Toy", interval(12, 10, 15), interval(), METHOD),
        Number("kd", "KD-Toy", interval(), None, METHOD),
    ),
    curve=(Number("fd", "FD-Toy", interval(), interval(), METHOD),),
    memorisation=Memorisation((NEAR, replace(NEAR, space="features of Toy", features=NETWORK)), "So near is near.", 2),
    likelihood=LIKELIHOOD,
    notes=("Beware.",),
)
