"""Labelled data for which every kind of guidance is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from exact import Gaussian
from sfumato.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Labelled:
    """Labelled data: label y with chance share[y], then N(mean[y], std[y]²) in every coordinate, independently."""

    schedule: NoiseSchedule
    mean: tuple[float, ...] = (-0.7, 0.1, 0.8)
    std: tuple[float, ...] = (0.3, 0.5, 0.2)
    share: tuple[float, ...] = (0.5, 0.3, 0.2)

    def log_density(self, x: Tensor, t: float, label: int = -1) -> Tensor:
        """log p(x_t | label) (N,) for x (N, d), or log p(x_t) for the label -1."""
        if label == -1:
            parts = [self.log_density(x, t, y) + math.log(share) for y, share in enumerate(self.share)]
            return torch.stack(parts).logsumexp(0)
        centre, variance = Gaussian(self.schedule, self.mean[label], self.std[label]).marginal(t)
        return -0.5 * ((x - centre) ** 2 / variance + math.log(2 * math.pi * variance)).sum(1)

    def log_posterior(self, x: Tensor, t: float, label: int) -> Tensor:
        """log p(label | x_t) (N,), by Bayes' rule."""
        return self.log_density(x, t, label) + math.log(self.share[label]) - self.log_density(x, t)

    def denoise(self, x: Tensor, t: float, labels: Tensor) -> Tensor:
        """E[x_0 | x_t, label] for labels (N, 1); -1 for no label."""
        of = [Gaussian(self.schedule, m, s).denoise(x, t) for m, s in zip(self.mean, self.std, strict=True)]
        chance = torch.stack([self.log_posterior(x, t, y) for y in range(len(of))]).exp()
        every = [*of, sum(c[:, None] * x0 for c, x0 in zip(chance, of, strict=True))]
        return torch.stack([every[y][i] for i, y in enumerate(labels[:, 0].tolist())])


def tweedie(schedule: NoiseSchedule, log_density: Callable[[Tensor], Tensor], x: Tensor, t: float) -> Tensor:
    """x̂0 = (x_t + σ²·∇ log p(x_t))/α, the gradient by automatic differentiation; the density need not be normed."""
    point = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(log_density(point).sum(), point)
    return (x + schedule.sigma(t) ** 2 * score) / schedule.alpha(t)
