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


@dataclass(frozen=True)
class Mixture:
    """Data from Σ weight·N(mean, std²) in every coordinate, independently. Nothing about it is linear."""

    schedule: NoiseSchedule
    weights: tuple[float, ...] = (0.3, 0.7)
    means: tuple[float, ...] = (-0.8, 0.5)
    stds: tuple[float, ...] = (0.4, 0.3)

    def parts(self, t: float) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, means and standard deviations of the parts of x_t."""
        weights, means, stds = (torch.tensor(v, dtype=torch.float64) for v in (self.weights, self.means, self.stds))
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return weights, alpha * means, (alpha**2 * stds**2 + sigma**2).sqrt()

    def denoise(self, x: Tensor, t: float) -> Tensor:
        """E[x_0 | x_t]: each part's, by the part's share in x_t."""
        weights, means, stds = self.parts(t)
        alpha = self.schedule.alpha(t)
        z = (x[..., None] - means) / stds
        share = torch.softmax(weights.log() - stds.log() - z**2 / 2, -1)
        prior = torch.tensor(self.stds, dtype=torch.float64)
        each = torch.tensor(self.means, dtype=torch.float64) + alpha * prior**2 / stds * z
        return (share * each).sum(-1)

    def quantile(self, x: Tensor, t: float) -> Tensor:
        """P(x_t ≤ x)."""
        weights, means, stds = self.parts(t)
        return (weights * torch.special.ndtr((x[..., None] - means) / stds)).sum(-1)

    def flow(self, x: Tensor, t: float, s: float) -> Tensor:
        """The probability-flow ODE from t to s: in one dimension it keeps the quantile. Found by bisection."""
        wanted = self.quantile(x, t)
        low, high = torch.full_like(x, -1e3), torch.full_like(x, 1e3)
        for _ in range(80):
            middle = (low + high) / 2
            below = self.quantile(middle, s) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


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
