"""Several ways of doing one thing, run in turns, so that what disturbs one disturbs all; and how they compare."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.speed.machine import Load

__all__ = ["OURS", "Case", "alternate", "compare", "measure"]

OURS = "sfumato"
MOST_ROUNDS = 51


def wall(run: Callable[[], object]) -> float:
    """Seconds of a run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Case:
    """One thing to do.

    Attributes:
        name: what is done.
        sides: who does it -> a run of it; `OURS` is among them.
        seconds: rounds are run until these are over.
        least: but so many at least.
        per: a run does it so many times.
        timed: how the seconds of a run are found.
        facts: what else to say: parameters, multiply-adds, differences of the results.
    """

    name: str
    sides: Mapping[str, Callable[[], object]]
    seconds: float
    least: int = 3
    per: int = 1
    timed: Callable[[Callable[[], object]], float] = wall
    facts: Mapping[str, object] = field(default_factory=dict)


def alternate(
    sides: Mapping[str, Callable[[], object]],
    seconds: float,
    least: int = 3,
    timed: Callable[[Callable[[], object]], float] = wall,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every run of every side, by rounds.

    Each side runs once without being counted. Then every round runs all of them, every other round in the opposite
    order. No round is begun that would end after `seconds`, once there are `least`.
    """
    for run in sides.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    began = clock()
    for number in range(MOST_ROUNDS):
        if number >= least and (clock() - began) * (number + 1) / number > seconds:
            break
        for name in list(sides)[:: -1 if number % 2 else 1]:
            times[name].append(timed(sides[name]))
    return times


def compare(times: Mapping[str, Sequence[float]], per: int = 1) -> dict[str, dict[str, float | list[float]]]:
    """Median and minimum of each side, and of the others how many times as long as ours they took.

    That ratio is taken within each round; given are its median and its quartiles over the rounds.

    Args:
        times: side -> seconds by rounds, two rounds at least.
        per: a run did it so many times.
    """
    result: dict[str, dict[str, float | list[float]]] = {}
    for name, taken in times.items():
        facts: dict[str, float | list[float]] = {
            "median_s": statistics.median(taken) / per,
            "fastest_s": min(taken) / per,
        }
        if name != OURS:
            ratios = [theirs / ours for theirs, ours in zip(taken, times[OURS], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
            facts |= {"ratio": middle, "quartiles": [low, high]}
        result[name] = facts
    return result


def measure(case: Case) -> dict:
    """A case as a row of results, with what else went on in the machine meanwhile."""
    load = Load()
    times = alternate(case.sides, case.seconds, case.least, case.timed)
    rounds = len(times[OURS])
    return {"case": case.name, "rounds": rounds, "sides": compare(times, case.per), **case.facts, **load.facts()}
