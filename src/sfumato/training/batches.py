"""The batches of a run as a pure function of (seed, pictures seen): nothing to save, nothing to restore.

Picture number n of the run (n = 0, 1, 2 …) decides which picture of the data set it is, its noise, its time (as a
fraction of the times that an objective draws), whether its labels are dropped and whether it is mirrored. How pictures
are grouped into batches changes none of that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sfumato.data.dataset import Dataset, Fetched
from sfumato.data.on_demand import OnDemand
from sfumato.data.order import Order
from sfumato.data.shaped import Shaped
from sfumato.data.workers import in_order
from sfumato.scaling import to_unit
from sfumato.seeds import Stream, generator, noise
from sfumato.training.captions import Captions
from sfumato.training.latents import Latents
from sfumato.training.steps import Part

__all__ = ["Batch", "Batches"]

GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴/φ: n·GOLDEN mod 2⁶⁴ fills the circle evenly for every run of consecutive n


class Batch(NamedTuple):
    """Pictures to learn from. All tensors on the CPU."""

    pictures: np.ndarray  # (N,) which pictures of the data set
    x0: Tensor  # (N, C, H, W) float32 in [-1, 1]
    labels: Tensor  # (N, K) int64, -1 where dropped or absent
    fraction: np.ndarray  # (N,) uint64: of 2⁶⁴, uniform, evenly spread over any consecutive pictures; decides the time
    noise: Tensor  # (N, C, H, W) float32
    guessed: np.ndarray  # (N,) bool: whether self-conditioning shows a guess of it
    texts: tuple[str, ...] = ()  # N, where texts are learned
    unreadable: Mapping[int, str] = {}  # pictures of the data set in whose place others are here, and why


class Batches:
    """What a run shows to the network.

    Args:
        data: the pictures.
        seed: of the run.
        label_dropout: chance to lose all labels, and then of each kind alone.
        flip: mirror half of the pictures.
        captions: what is said of each, where texts are learned.
        latents: of the pictures, where these are learned.
        offset_noise: standard deviation of what is added to the noise of each whole channel.
        shaped: what decides which pictures come together, where batches have several shapes.
    """

    def __init__(
        self,
        data: Dataset | OnDemand,
        seed: int,
        label_dropout: float = 0.0,
        flip: bool = False,
        captions: Captions | None = None,
        latents: Latents | None = None,
        offset_noise: float = 0.0,
        shaped: Shaped | None = None,
    ) -> None:
        self.data, self.seed, self.offset_noise, self.shaped = data, seed, offset_noise, shaped
        self.label_dropout, self.flip, self.captions, self.latents = label_dropout, flip, captions, latents
        self._order = Order(len(data), seed)
        self._offset = int(generator(seed, 0, Stream.TRAIN_CHOICE).bit_generator.random_raw())

    def ahead(self, parts: Iterable[Part], workers: int) -> Generator[Batch, None, None]:
        """The batches of these parts of the run, in their order, prepared by `workers` threads; see `in_order`.

        Of an empty part it is one picture, for a rank that has run out of them to take along.

        What is shown, and what is raised at which of them, is the same for any number of workers.

        Raises:
            InputError: too many pictures cannot be read; they are named.
        """
        with closing(in_order(lambda part: self.at(part.first, max(part.count, 1)), parts, workers)) as batches:
            for batch in batches:
                if isinstance(self.data, OnDemand):
                    self.data.quota.add_all(batch.unreadable)
                yield batch

    def unreadable(self, together: Callable[[dict[int, str]], list[dict[int, str]]]) -> dict[str, int]:
        """For the log: how many pictures could not be read when their turn came, if any.

        `together` gives what was found on all ranks. Raises `InputError` when that is too much.
        """
        if not isinstance(self.data, OnDemand):
            return {}
        for found in together(dict(self.data.quota.bad)):
            self.data.quota.add_all(found)
        return {"unreadable": len(self.data.quota.bad)} if self.data.quota.bad else {}

    def at(self, seen: int, count: int) -> Batch:
        """The pictures number `seen` … `seen + count - 1` of the run."""
        numbers = range(seen, seen + count)
        dropped, mirrored = np.zeros((count, self.data.labels.shape[1]), bool), np.zeros(count, bool)
        for row, n in enumerate(numbers):
            drop_all, mirror, *drop = generator(self.seed, n, Stream.TRAIN_CHOICE, 1).random(2 + dropped.shape[1])
            dropped[row] = drop_all < self.label_dropout
            if len(drop) > 1:
                dropped[row] |= np.asarray(drop) < self.label_dropout
            mirrored[row] = self.flip and mirror < 0.5
        if self.latents is not None:
            index, unreadable = self._order(numbers), {}
            x0 = self.latents.draw(self.seed, numbers, index, mirrored)
        else:
            index, images, unreadable = self._pictures(numbers)
            images[mirrored] = images[mirrored, :, ::-1]
            x0 = to_unit(images)
        labels = np.where(dropped, -1, self.data.labels[index])
        return Batch(
            pictures=index,
            x0=x0,
            labels=torch.from_numpy(labels),
            fraction=np.array([(self._offset + n * GOLDEN) % 2**64 for n in numbers], np.uint64),
            noise=self._noise([(self.seed, n) for n in numbers], x0.shape[1:]),
            guessed=np.array([generator(self.seed, n, Stream.TRAIN_CHOICE, 2).random() < 0.5 for n in numbers]),
            texts=tuple(map(self.captions.text, index.tolist(), numbers)) if self.captions else (),
            unreadable=unreadable,
        )

    def _pictures(self, numbers: range) -> Fetched:
        if self.shaped is not None:
            return self.shaped.fetch(numbers)
        return self.data.fetch(self._order(numbers), numbers)

    def _noise(self, numbers: list[tuple[int, int]], shape: torch.Size) -> Tensor:
        plain = noise(numbers, shape, Stream.TRAIN_NOISE)
        if not self.offset_noise:
            return plain
        return plain + self.offset_noise * noise(numbers, (shape[0], 1, 1), Stream.TRAIN_NOISE, 1)
