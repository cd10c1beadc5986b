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
from sfumato.scaling import to_unit
from sfumato.seeds import Stream, generator, noise, permutation
from sfumato.training.captions import Captions
from sfumato.training.latents import Latents

__all__ = ["Batch", "Batches"]

GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴/φ: n·GOLDEN mod 2⁶⁴ fills the circle evenly for every run of consecutive n


class Batch(NamedTuple):
    """Pictures to learn from. All tensors on the CPU."""

    pictures: np.ndarray  # (N,) which pictures of the data set
    x0: Tensor  # (N, C, H, W) float32 in [-1, 1]
    labels: Tensor  # (N, K) int64, -1 where dropped or absent
    t: Tensor  # (N,) float64
    noise: Tensor  # (N, C, H, W) float32
    texts: tuple[str, ...] = ()  # N, where texts are learned


class Batches:
    """What a run shows to the network.

    Args:
        data: the pictures.
        seed: of the run.
        steps: T; times are drawn from {1/T … 1} (Ho et al. 2020, algorithm 1), evenly over every run of pictures.
        label_dropout: chance to lose all labels, and then of each kind alone.
        flip: mirror half of the pictures.
        captions: what is said of each, where texts are learned.
        latents: of the pictures, where these are learned.
    """

    def __init__(
        self,
        data: Dataset,
        seed: int,
        steps: int,
        label_dropout: float = 0.0,
        flip: bool = False,
        captions: Captions | None = None,
        latents: Latents | None = None,
    ) -> None:
        self.data, self.seed, self.steps = data, seed, steps
        self.label_dropout, self.flip, self.captions, self.latents = label_dropout, flip, captions, latents
        self._order = lru_cache(maxsize=2)(lambda epoch: permutation(len(data), seed, Stream.ORDER, epoch))
        self._offset = int(generator(seed, 0, Stream.TRAIN_CHOICE).bit_generator.random_raw())

    def at(self, seen: int, count: int) -> Batch:
        """The pictures number `seen` … `seen + count - 1` of the run."""
        numbers = range(seen, seen + count)
        index = np.array([self._order(n // len(self.data))[n % len(self.data)] for n in numbers])
        labels, mirrored = self.data.labels[index].copy(), np.zeros(count, bool)
        for row, n in enumerate(numbers):
            drop_all, mirror, *drop = generator(self.seed, n, Stream.TRAIN_CHOICE, 1).random(2 + labels.shape[1])
            if drop_all < self.label_dropout:
                labels[row] = -1
            elif len(drop) > 1:
                labels[row, np.asarray(drop) < self.label_dropout] = -1
            mirrored[row] = self.flip and mirror < 0.5
        if self.latents is not None:
            x0 = self.latents.draw(self.seed, numbers, index, mirrored)
        else:
            images = self.data.images[index]
            images[mirrored] = images[mirrored, :, ::-1]
            x0 = to_unit(images)
        return Batch(
            pictures=index,
            x0=x0,
            labels=torch.from_numpy(labels),
            t=torch.tensor([self.time(n) for n in numbers], dtype=torch.float64),
            noise=noise([(self.seed, n) for n in numbers], x0.shape[1:], Stream.TRAIN_NOISE),
            texts=tuple(map(self.captions.text, index.tolist(), numbers)) if self.captions else (),
        )

    def time(self, n: int) -> float:
        """The time of picture number n: uniform on {1/T … 1}, and evenly spread over any consecutive pictures."""
        fraction = (self._offset + n * GOLDEN) % 2**64
        return (fraction * self.steps // 2**64 + 1) / self.steps
