"""A learned variance in sampling: it scales the fresh noise of each step, pixel by pixel (Nichol & Dhariwal 2021)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.learned import LearnedVariance, check_learned, log_variance
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.models.spec import ModelSpec
from sfumato.solvers import Table

__all__ = ["LearnedSpread", "learned_by"]


def learned_by(spec: ModelSpec, schedule: NoiseSchedule, steps: np.ndarray) -> LearnedVariance:
    """How a model has learned the variance of steps t - s. `InputError` when it has not, or only that of others."""
    if spec.variance == "fixed":
        raise InputError(f"model {spec.name!r} has learned no variance: take the variance small or large")
    if spec.variance == "free" and (abs(steps * schedule.steps - 1) > 1e-6).any():
        raise InputError(
            f"model {spec.name!r} has learned the variance of steps of 1/{schedule.steps} and of no others: take "
            f"{schedule.steps} steps, or the variance small"
        )
    return check_learned(spec.variance, schedule)


class LearnedSpread:
    """Remembers what the network last said of the variance of p(x_s|x_t), and gives that to the noise of the step.

    Args:
        spec, schedule: of the model.
        table: of ancestral sampling.

    Raises:
        InputError: when the model has learned no variance, or only that of steps which these are not.
    """

    def __init__(self, spec: ModelSpec, schedule: NoiseSchedule, table: Table) -> None:
        steps = table.times[:-1] - table.times[1:]
        self._kind: LearnedVariance = learned_by(spec, schedule, steps[table.S > 0])
        self._schedule, self._table = schedule, table
        self._raw: Tensor | None = None

    def hear(self, raw: Tensor) -> None:
        """What the network put out beside its prediction, (N, …), at the call whose row comes next."""
        self._raw = raw

    def __call__(self, i: int, noise: Tensor) -> Tensor:
        """The noise (N, …) of row i, which S[i] will multiply, with the learned variance."""
        assert self._raw is not None  # the loop calls the network before it draws
        t, s = float(self._table.times[i]), float(self._table.times[i + 1])
        std = torch.exp(log_variance(self._kind, self._schedule, self._raw, s, t) / 2)
        return noise * (std / float(self._table.S[i]))
