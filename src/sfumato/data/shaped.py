"""Pictures of all shapes in batches of one shape each, which crops little of any of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np

from sfumato.data.buckets import Buckets, bucket_of, bucket_shapes
from sfumato.data.dataset import Fetched
from sfumato.data.on_demand import OnDemand
from sfumato.data.source import some_of
from sfumato.sizes import written

__all__ = ["Shaped"]


class Shaped:
    """Which pictures make up each batch of a run, and in which shape they are shown.

    The shapes have about the area of the data's own, sides that differ by about an eighth of it from one to the next,
    and a ratio of up to 2. Only the headers of the pictures are read for it.

    Args:
        data: the pictures. Those whose header cannot be read are counted, and left out.
        divisor: of all sides.
        batch, seed: of the run; see `Buckets`.
        workers: threads that read headers.

    Attributes:
        shapes: (height, width) of the buckets that hold pictures.
        plan: the batches.

    Raises:
        InputError: no shape fits, or too many headers cannot be read.
    """

    def __init__(self, data: OnDemand, divisor: int, batch: int, seed: int, workers: int = 0) -> None:
        area = data.shape[0] * data.shape[1]
        offered = bucket_shapes(area, divisor * max(1, round(math.sqrt(area) / 8 / divisor)))
        buckets = bucket_of(data.sizes(workers), offered)
        used = np.unique(buckets[buckets >= 0])
        self.data, self.shapes = data, tuple(offered[k] for k in used)
        self._buckets = np.where(buckets >= 0, np.searchsorted(used, buckets), -1)
        self.plan = Buckets(self._buckets, batch, seed)

    @property
    def fingerprint(self) -> str:
        """sha256 over the shapes, and which of them each picture has."""
        digest = hashlib.sha256(json.dumps(self.shapes).encode())
        digest.update(self._buckets.astype(np.int64).data)
        return digest.hexdigest()

    def fetch(self, numbers: Sequence[int] | range) -> Fetched:
        """The pictures that come as these consecutive numbers of the run, all of one batch: `OnDemand.fetch`."""
        bucket, index = self.plan.part(numbers[0], len(numbers))
        return self.data.fetch(index, numbers, self.shapes[bucket], self.plan.members[bucket])

    def text(self) -> str:
        """Which shapes there are, for people."""
        counts = [len(members) for members in self.plan.members]
        lines = [f"{written(shape)}: {count:,} pictures" for shape, count in zip(self.shapes, counts, strict=True)]
        return "\n".join([f"batches of {len(lines)} shapes (width x height):", *some_of(lines, 12)])
