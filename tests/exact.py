"""Truth to test against: data for which everything about diffusion is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Gaussian:
    """Data N(mean, std²) in every coordinate, independently."""

    schedule: NoiseSchedule
    mean: float = 0.3
    std: float = 0.5

    def marginal(self, t: float) -> tuple[float, float]:
        """Mean and variance of x_t."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return alpha * self.mean, alpha**2 * self.std**2 + sigma**2

    def denoise(self, x: Tensor, t: float) -> Tensor:
        """E[x_0 | x_t], by the formula for jointly Gaussian variables."""
        alpha = self.schedule.alpha(t)
        centre, variance = self.marginal(t)
        return self.mean + alpha * self.std**2 / variance * (x - centre)

    def flow(self, x: Tensor, t: float, s: float) -> Tensor:
        """The probability-flow ODE from t to s: it keeps the quantile, so x moves with its marginal's mean and std."""
        (centre_t, var_t), (centre_s, var_s) = self.marginal(t), self.marginal(s)
        return centre_s + (x - centre_t) * (var_s / var_t) ** 0.5


SCHEDULES = {
    "linear": NoiseSchedule.linear(),
    "scaled-linear": NoiseSchedule.scaled_linear(),
    "cosine": NoiseSchedule.cosine(),
    "cosine-zsnr": NoiseSchedule.cosine().zero_terminal_snr(),
    "linear-zsnr": NoiseSchedule.linear().zero_terminal_snr(),
    "sigmoid": NoiseSchedule.sigmoid(),
    "edm": NoiseSchedule.edm(),
    "short": NoiseSchedule.linear(steps=10, beta_start=0.05, beta_end=0.5),
}


def doubles(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal float64, fixed."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
