"""One contestant learns one problem for a number of steps, and is looked at on the way and at the end."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from bench.coverage.player import Player
from bench.coverage.problem import Judged, Problem, score
from torch import Tensor

from sfumato.errors import DivergedError
from sfumato.evaluation.coverage import prdc

__all__ = ["NEIGHBOURS", "REAL", "Plan", "measured", "trial"]

NEIGHBOURS = 5
REAL = 1_000_000  # seeds from here on are those of real data to compare with


@dataclass(frozen=True)
class Plan:
    """How long, and how closely.

    Attributes:
        steps: of training.
        looks: how often samples are judged on the way, evenly.
        n_look, n: samples that are judged on the way, and at the end.
    """

    steps: int
    looks: int
    n_look: int
    n: int


def trial(problem: Problem, player: Player, plan: Plan, seed: int) -> tuple[dict[str, Any], Tensor]:
    """Train, and judge.

    Returns:
        What JSON holds of it, and the first samples of the last judgement, to be shown.

    Raises:
        DivergedError: when a loss stops being finite.
    """
    curve, done, started = [], 0, time.process_time()
    look = next(iter(player.ways.values()))
    for number in range(1, plan.looks + 1):
        sums = dict[str, float]()
        until = plan.steps * number // plan.looks
        for step in range(done, until):
            losses = player.step(problem.train(seed, step * player.batch, player.batch), step)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss.item()
        means = {name: total / (until - done) for name, total in sums.items()}
        if not np.isfinite(list(means.values())).all():
            raise DivergedError(f"{problem.name}: a loss stopped being finite before step {until}: {means}")
        done = until
        facts = asdict(score(problem.judge(look(seed, plan.n_look)), problem.kinds))
        curve.append({"steps": done, "losses": means, **facts})
    final, samples = {}, torch.empty(0)
    reference = problem.judge(problem.held_out(REAL, plan.n))
    for way, draw in player.ways.items():
        samples = draw(seed, plan.n)
        final[way] = measured(problem, problem.judge(samples), reference)
    facts = {"parameters": dict(player.parameters), "process_seconds": round(time.process_time() - started)}
    return {**facts, "curve": curve, "final": final}, samples[: problem.shown]


def measured(problem: Problem, judged: Judged, reference: Judged) -> dict[str, Any]:
    """Modes and neighbourhoods of samples, beside real data of equal number."""
    around = prdc(reference.features, judged.features, NEIGHBOURS)
    return {
        **asdict(score(judged, problem.kinds)),
        **{name: getattr(around, name) for name in ("precision", "recall", "density", "coverage")},
    }
