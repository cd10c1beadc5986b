"""Stacked-MNIST: three digits as red, green and blue, 1000 modes (Metz et al. 2017; Srivastava et al. 2017)."""

from __future__ import annotations

import numpy as np
import torch
from bench.coverage.digits import SIDE, DigitNet
from bench.coverage.endless import rows
from bench.coverage.problem import Judged
from torch import Tensor

__all__ = ["SURE", "StackedMnist", "mode_of", "stack"]

SURE = 0.9  # a sample is good when the classifier is at least so sure of each of its three digits


def stack(seed: int, first: int, count: int, digits: int) -> np.ndarray:
    """Which of `digits` digits make pictures number `first` … of the seed's: (count, 3), each equally likely."""
    return rows(seed, first, count, lambda random, n: random.integers(digits, size=(n, 3)))


def mode_of(digits: np.ndarray) -> np.ndarray:
    """100·red + 10·green + blue of digits (N, 3)."""
    return digits @ np.array([100, 10, 1])


class StackedMnist:
    """See `problem.Problem`.

    Args:
        train, test: digits (N, 1, 12, 12) in [-1, 1] to learn from, and to hold out.
        classifier: names the digit of each channel.
    """

    name, kinds, shape, clipped, shown = "stacked-mnist", 1000, (3, SIDE, SIDE), True, 64

    def __init__(self, train: Tensor, test: Tensor, classifier: DigitNet) -> None:
        self._train, self._test, self._classifier = train, test, classifier

    def train(self, seed: int, first: int, count: int) -> Tensor:
        return _stacked(self._train, seed, first, count)

    def held_out(self, seed: int, count: int) -> Tensor:
        return _stacked(self._test, seed, 0, count)

    @torch.no_grad()
    def judge(self, samples: Tensor) -> Judged:
        """Each channel is looked at alone, as a grey picture."""
        parts = [
            self._classifier(part.reshape(-1, 1, SIDE, SIDE)) for part in samples.clamp(-1, 1).contiguous().split(500)
        ]
        logits, features = (torch.cat(part).reshape(len(samples), 3, -1) for part in zip(*parts, strict=True))
        sure, named = logits.softmax(-1).max(-1)
        return Judged(mode_of(named.numpy()), (sure >= SURE).all(1).numpy(), features.flatten(1).numpy())


def _stacked(digits: Tensor, seed: int, first: int, count: int) -> Tensor:
    return digits[torch.from_numpy(stack(seed, first, count, len(digits))), 0]
