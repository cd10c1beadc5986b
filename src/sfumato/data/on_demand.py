"""A source whose pictures are decoded when a batch asks for them: for what fits neither memory nor a packed file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property

import numpy as np

from sfumato.data.framing import Framing
from sfumato.data.reading import MAX_BAD, channels_of, decoded
from sfumato.data.source import Quota, Source
from sfumato.errors import InputError

__all__ = ["OnDemand"]


class OnDemand:
    """What a `Dataset` is, except that no pixels are kept. Several threads may take pictures at once.

    Args:
        source: the pictures.
        framing: how they become equally large. "random" crops another rectangle each time a picture is shown.
        mode: "RGB" or "L" (grey).
        max_bad: greatest tolerable share of pictures that cannot be read, but always one.

    Attributes:
        quota: the unreadable pictures that were met so far in this process.

    Raises:
        InputError: the source cannot be read by index (Parquet).
    """

    def __init__(self, source: Source, framing: Framing, *, mode: str = "RGB", max_bad: float = MAX_BAD) -> None:
        if not source.by_index:
            raise InputError(
                f"{source.where} cannot be read picture by picture. Pack it (sfumato data pack {source.where} …), or "
                "save it with datasets' save_to_disk"
            )
        self._source, self._framing, self._mode = source, framing, mode
        self.shape = (*framing.size, channels_of(mode))  # of a picture, where no other size is asked for
        self.name, self.source, self.licence = source.name, source.origin, "unknown"
        self.labels, self.kinds, self.captions = source.labels, source.kinds, source.captions
        self.tags: tuple[tuple[str, ...], ...] = ()
        self.quota = Quota(source, max_bad)

    def __len__(self) -> int:
        return len(self._source)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over names, sizes in bytes, labels, class names and framing. Pixels are not read for it."""
        parts = [self._source.fingerprint, asdict(self._framing), self._mode]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def text_fingerprint(self) -> str:
        """As that of a `Dataset` of these captions."""
        return hashlib.sha256(json.dumps([self.captions, self.tags]).encode()).hexdigest()

    def take(
        self, index: np.ndarray, numbers: Sequence[int], size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode the pictures at `index`.

        One that cannot be read is counted, and the next one that can be takes its place, label and caption included:
        so what is shown stays a function of the data alone.

        Args:
            index: (N,) which pictures.
            numbers: (N,) of the run, which decide about random crops.
            size: (height, width) of this batch, where it is not the framing's: that of its bucket.

        Returns:
            (N,) the pictures that were taken, and (N, H, W, C) uint8.

        Raises:
            InputError: too many cannot be read; they are named.
        """
        taken, images = np.array(index, np.int64), []
        for row, number in enumerate(numbers):
            i = int(taken[row])
            while (picture := self._picture(i, number, size)) is None:
                i = (i + 1) % len(self)
            taken[row] = i
            images.append(picture)
        return taken, np.stack(images)

    def _picture(self, i: int, number: int, size: tuple[int, int] | None) -> np.ndarray | None:
        if i in self.quota.bad:
            return None
        try:
            return decoded(self._source, i, self._framing, self._mode, number, size)
        except InputError as error:
            self.quota.add(i, str(error))
            return None
