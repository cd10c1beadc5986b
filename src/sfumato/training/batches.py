"""The batches of a run as a pure function of (seed, pictures seen): nothing to save, nothing to restore.

Picture number n of the run (n = 0, 1, 2 …) decides which picture of the data set it is, its noise, its time, whether
its labels are dropped and whether it is mirrored. How pictures are grouped into batches changes none of that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sfumato.data.dataset import Dataset
from sfumato.seeds import Stream, generator, noise, permutation

__all__ = ["Batch", "Batches", "to_unit"]

GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴/φ: n·GOLDEN mod 2⁶⁴ fills the circle evenly for every run of consecutive n


class Batch(NamedTuple):
    """Pictures to learn from. All tensors on the CPU."""

    pictures: np.ndarray  # (N,) which pictures of the data set
    x0: Tensor  # (N, C, H, W) float32 in [-1, 1]
    labels: Tensor  # (N, K) int64, -1 where dropped or absent
    t: Tensor  # (N,) float64
    noise: Tensor  # (N, C, H, W) float32


def to_unit(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


class Batches:
    """What a run shows to the network.

    Args:
        data: the pictures.
        seed: of the run.
        steps: T; times are drawn from {1/T … 1} (Ho et al. 2020, algorithm 1), evenly over every run of pictures.
        label_dropout: chance to lose all labels, and then of each kind alone.
        flip: mirror half of the pictures.
    """

    def __init__(self, data: Dataset, seed: int, steps: int, label_dropout: float = 0.0, flip: bool = False) -> None:
        self.data, self.seed, self.steps = data, seed, steps
        self.label_dropout, self.flip = label_dropout, flip
        self._order = lru_cache(maxsize=2)(lambda epoch: permutation(len(data), seed, Stream.ORDER, epoch))
        self._offset = int(generator(seed, 0, Stream.TRAIN_CHOICE).bit_generator.random_raw())

    def at(self, seen: int, count: int) -> Batch:
        """The pictures number `seen` … `seen + count - 1` of the run."""
        numbers = range(seen, seen + count)
        index = np.array([self._order(n // len(self.data))[n % len(self.data)] for n in numbers])
        images, labels = self.data.images[index], self.data.labels[index].copy()
        for row, n in enumerate(numbers):
            drop_all, mirror, *drop = generator(self.seed, n, Stream.TRAIN_CHOICE, 1).random(2 + labels.shape[1])
            if drop_all < self.label_dropout:
                labels[row] = -1
            elif len(drop) > 1:
                labels[row, np.asarray(drop) < self.label_dropout] = -1
            if self.flip and mirror < 0.5:
                images[row] = images[row, :, ::-1]
        x0 = to_unit(images)
        return Batch(
            pictures=index,
            x0=x0,
            labels=torch.from_numpy(labels),
            t=torch.tensor([self.time(n) for n in numbers], dtype=torch.float64),
            noise=noise([(self.seed, n) for n in numbers], x0.shape[1:], Stream.TRAIN_NOISE),
        )

    def time(self, n: int) -> float:
        """The time of picture number n: uniform on {1/T … 1}, and evenly spread over any consecutive pictures."""
        fraction = (self._offset + n * GOLDEN) % 2**64
        return (fraction * self.steps // 2**64 + 1) / self.steps
