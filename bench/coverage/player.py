"""A contestant: it takes training steps, and gives samples from the average of its weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from sfumato.seeds import Stream, generator
from sfumato.training.ema import Average, decay

__all__ = ["Averaged", "Parameters", "Player", "Ways", "normal"]

RAMPUP = 0.05  # the half-life of every contestant's average is this share of the pictures it has seen


Parameters = Mapping[str, int]
"""Of each network, by its name."""

Ways = Mapping[str, Callable[[int, int], Tensor]]
"""Of sampling, by name: (seed, count) -> samples (count, …). The first is for looks on the way."""


class Player(Protocol):
    """What a trial needs to know of a contestant."""

    batch: int
    parameters: Parameters
    ways: Ways

    def step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        """Learn from real samples (batch, …) in step `number`; losses, by name."""
        ...


class Averaged:
    """A network with the average of its weights over training."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._average = Average(network)
        self._copy = copy.deepcopy(network).eval().requires_grad_(False)

    def update(self, batch: int, seen: int) -> None:
        """Take in the weights as they are after `seen` pictures, `batch` of them new."""
        self._average.update(self.network, decay(batch, seen, math.inf, RAMPUP))

    def now(self) -> nn.Module:
        """The network with the averaged weights, for sampling."""
        self._copy.load_state_dict(self._average.values)
        return self._copy


def normal(seed: int, number: int, stream: Stream, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers, a function of (seed, number, stream): (shape) float32."""
    return torch.from_numpy(generator(seed, number, stream).standard_normal(shape, dtype="float32"))
