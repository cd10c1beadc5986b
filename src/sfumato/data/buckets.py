"""Batches of one shape each, from pictures of all shapes: buckets by aspect ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sfumato.data.order import permuted
from sfumato.data.reading import MAX_BAD
from sfumato.data.source import Quota, Source
from sfumato.data.workers import in_order
from sfumato.errors import InputError
from sfumato.images import orientation

__all__ = ["Buckets", "bucket_of", "bucket_shapes", "picture_sizes"]


class Buckets:
    """Which pictures make up each batch of a run: a pure function of (seed, number of the batch), without a table.

    Every bucket's pictures come in an endless stream, each once before any comes again, in an order that changes from
    one pass to the next. In epoch e a bucket of N_k pictures gives ⌊(e+1)·N_k/B⌋ - ⌊e·N_k/B⌋ batches of B: what
    does not fill a batch waits for the next epoch, and none is lost or shown more often. The batches of an epoch come
    in random order.

    Args:
        buckets: (N,) number of the bucket of each picture, from 0 on; negative for pictures that are left out.
        batch: B, the same in the whole run.
        seed: of the run.

    Attributes:
        members: the pictures of each bucket, in rising order.
    """

    def __init__(self, buckets: np.ndarray, batch: int, seed: int) -> None:
        if batch < 1 or not (np.asarray(buckets) >= 0).any():
            raise InputError(f"no batches of {batch} from {len(buckets)} pictures: at least one of each is needed")
        self.batch, self.seed = batch, seed
        self.members = [np.flatnonzero(buckets == k) for k in range(int(np.max(buckets)) + 1)]
        self._counts = [len(members) for members in self.members]

    def at(self, number: int) -> tuple[int, np.ndarray]:
        """Batch `number` of the run (from 0 on): its bucket, and the (B,) int64 numbers of its pictures."""
        if number < 0:
            raise InputError(f"batches are numbered from 0 on; there is none of number {number}")
        epoch = number * self.batch // sum(self._counts)  # or a little later, for what waits to fill a batch
        while sum(self._given(epoch + 1)) <= number:
            epoch += 1
        before, after = self._given(epoch), self._given(epoch + 1)
        place, count = number - sum(before), sum(after) - sum(before)
        j = int(permuted([place], count, self.seed, epoch)[0])
        for k, (first, end) in enumerate(zip(before, after, strict=True)):
            if j < end - first:
                return k, self._stream(k, (first + j) * self.batch)
            j -= end - first
        raise AssertionError("a batch beyond its epoch")

    def part(self, first: int, count: int) -> tuple[int, np.ndarray]:
        """Pictures number `first` … `first + count - 1` of the run: their bucket, and which they are, (count,) int64.

        Raises:
            InputError: they belong to more than one batch.
        """
        number, row = divmod(first, self.batch)
        if count > self.batch - row:
            raise InputError(f"pictures {first:,} … {first + count - 1:,} are of several batches of {self.batch}")
        bucket, index = self.at(number)
        return bucket, index[row : row + count]

    def _given(self, epoch: int) -> list[int]:
        """How many batches each bucket gives before `epoch`."""
        return [epoch * count // self.batch for count in self._counts]

    def _stream(self, k: int, start: int) -> np.ndarray:
        """A batch of the stream of bucket k, from its number `start` on."""
        passes, places = np.divmod(np.arange(start, start + self.batch), self._counts[k])
        index = np.empty_like(places)
        for one in np.unique(passes).tolist():
            here = passes == one
            index[here] = permuted(places[here], self._counts[k], self.seed, one, 1 + k)
        return self.members[k][index]


def bucket_shapes(area: int, step: int = 8, longest: float = 2.0) -> tuple[tuple[int, int], ...]:
    """Shapes (height, width) of nearly equal area, from the flattest to the tallest.

    Args:
        area: pixels; none has more.
        step: that all sides are multiples of: 2 to the number of times that the network halves.
        longest: greatest ratio of the sides.

    Returns:
        For each width the greatest height, and the other way round; the square one is among them where it fits.
    """
    if step < 1 or area < step * step or not longest >= 1:
        raise InputError(f"{area=}, {step=}, {longest=}: an area of at least step x step and a ratio of at least 1")
    shapes = set()
    for side in range(step, math.isqrt(int(area * longest)) + 1, step):
        other = area // side // step * step
        if other and max(side, other) <= longest * min(side, other):
            shapes |= {(side, other), (other, side)}
    if not shapes:
        raise InputError(f"no sides that are multiples of {step} have {area} pixels and a ratio of up to {longest}")
    # of those that differ by one step only, such as 56x64 and 64x64, the larger area shows more
    return tuple(sorted(s for s in shapes if not any(_within(s, other) for other in shapes)))


def _within(shape: tuple[int, int], other: tuple[int, int]) -> bool:
    return shape != other and shape[0] <= other[0] and shape[1] <= other[1]


def bucket_of(sizes: np.ndarray, shapes: Sequence[tuple[int, int]]) -> np.ndarray:
    """For each picture the shape that crops least of it: (N,) int64, -1 where a side is 0.

    Args:
        sizes: (N, 2) height and width.
        shapes: (height, width) of the buckets.
    """
    asked = np.log(np.maximum(sizes, 1))
    ratios = asked[:, 0] - asked[:, 1]  # (N,)
    offered = np.array([math.log(height) - math.log(width) for height, width in shapes])
    nearest = np.abs(ratios[:, None] - offered[None, :]).argmin(1)
    return np.where(np.asarray(sizes).min(1) > 0, nearest, -1)


def picture_sizes(source: Source, *, workers: int = 0, max_bad: float = MAX_BAD) -> tuple[np.ndarray, Quota]:
    """Height and width of every picture, upright, from the headers alone.

    Returns:
        (N, 2) int64, zeros where a header cannot be read, and the quota that has counted those.

    Raises:
        InputError: too many cannot be read.
    """
    quota = Quota(source, max_bad)

    def size(i: int) -> tuple[int, int] | str:
        try:
            with source.opened(i) as image:
                width, height = image.size
                return (width, height) if orientation(image) >= 5 else (height, width)
        except InputError as error:
            return str(error)

    sizes = np.zeros((len(source), 2), np.int64)
    for i, result in enumerate(in_order(size, range(len(source)), workers)):
        if isinstance(result, str):
            quota.add(i, result)
        else:
            sizes[i] = result
    return sizes, quota
