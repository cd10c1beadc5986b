"""Importance-sampled times: steps whose losses are large come more often, and count less (Nichol & Dhariwal 2021, 3.3).

    p_t ∝ √E[L_t²],   loss = L_t/(T·p_t),   E[L_t²] from the latest 10 losses of each step                       eq. 18

The gradient stays unbiased, whatever p is; with this one its noise is least. Until every step has 10 losses, steps come
equally often. The losses are looked at after every step of the optimizer, so the device is waited for.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.training.times import unit

__all__ = ["Importance"]

MEMORY = 10  # losses a step
FLOOR = 0.001  # share of times drawn uniformly, so that no step is forgotten and no weight exceeds 1000


class Importance(nn.Module):
    """What is remembered of the losses of the steps 1/T … 1, and the times drawn from it. On the CPU.

    Its buffers are all of its state.
    """

    losses: Tensor
    heard: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.register_buffer("losses", torch.zeros(steps, MEMORY, dtype=torch.float64))  # place n % MEMORY is the n-th
        self.register_buffer("heard", torch.zeros(steps, dtype=torch.int64))  # how many of each there were

    def chances(self) -> Tensor:
        """(T,) p_t of the steps, summing to 1."""
        steps = len(self.heard)
        even = torch.full((steps,), 1 / steps, dtype=torch.float64)
        size = self.losses.square().mean(1).sqrt()
        if bool((self.heard < MEMORY).any()) or not bool(size.sum() > 0):
            return even
        return (1 - FLOOR) * size / size.sum() + FLOOR * even

    def draw(self, fraction: np.ndarray) -> tuple[Tensor, Tensor]:
        """Times of the steps and weights 1/(T·p_t) of their losses, both (N,). `fraction`: (N,) uint64, of 2⁶⁴."""
        chances = self.chances()
        index = torch.searchsorted(chances.cumsum(0), unit(fraction), right=True).clamp(max=len(chances) - 1)
        return (index + 1).double() / len(chances), 1 / (len(chances) * chances[index])

    def learn(self, t: Tensor, losses: Tensor) -> None:
        """Remember losses (N,), not weighted, at steps t (N,)."""
        steps = len(self.heard)
        for i, loss in zip((t * steps).round().long().tolist(), losses.tolist(), strict=True):
            self.losses[i - 1, self.heard[i - 1] % MEMORY] = loss
            self.heard[i - 1] += 1
