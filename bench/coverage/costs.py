"""What a training step and a sample cost each contestant, so that equal time becomes numbers of steps.

A training of so many steps can be repeated to the bit. One of so many seconds cannot: even seconds of the process alone
depend on what else uses the machine's caches. Here contestants take turns, and the least of many times counts, which a
busy machine changes little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bench.coverage.player import Player
from bench.coverage.problem import Problem

__all__ = ["Cost", "costs", "least_times"]

STEPS, DRAWS, DRAWN = 30, 3, 250
Key = TypeVar("Key")


@dataclass(frozen=True)
class Cost:
    """Seconds of the process: of a training step with its data, and of 1000 samples in each way of sampling."""

    step: float
    samples: Mapping[str, float]


def costs(problem: Problem, players: Mapping[str, Player]) -> dict[str, Cost]:
    """What each player's step and samples cost. The players are used up."""

    def step(player: Player, number: int) -> None:
        player.step(problem.train(0, number * player.batch, player.batch), number)

    steps = least_times({name: partial(step, player) for name, player in players.items()}, STEPS)
    draws = {
        (name, way): lambda number, draw=draw: draw(number, DRAWN)
        for name, player in players.items()
        for way, draw in player.ways.items()
    }
    samples = least_times(draws, DRAWS)
    return {
        name: Cost(steps[name], {way: samples[name, way] * 1000 / DRAWN for way in player.ways})
        for name, player in players.items()
    }


def least_times(actions: Mapping[Key, Callable[[int], object]], repeats: int) -> dict[Key, float]:
    """The least process time of each action, in seconds; they take turns. Each is told the number of the repeat."""
    least = dict.fromkeys(actions, float("inf"))
    for number in range(repeats):
        for name, action in actions.items():
            started = time.process_time()
            action(number)
            least[name] = min(least[name], time.process_time() - started)
    return least
