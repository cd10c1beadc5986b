"""A source whose pictures are decoded when a batch asks for them: for what fits neither memory nor a packed file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np

from sfumato.data.buckets import picture_sizes
from sfumato.data.dataset import Fetched
from sfumato.data.framing import Framing
from sfumato.data.reading import MAX_BAD, channels_of, decoded
from sfumato.data.source import Quota, Source
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["OnDemand"]


class OnDemand:
    """What a `Dataset` is, except that no pixels are kept. Several threads may take pictures at once.

    Args:
        source: the pictures.
        framing: how they become equally large. "random" crops another rectangle each time a picture is shown.
        mode: "RGB" or "L" (grey).
        max_bad: greatest tolerable share of pictures that cannot be read, but always one.

    Attributes:
        quota: the unreadable pictures that were counted so far in this process.

    Raises:
        InputError: the source cannot be read by index (Parquet).
    """

    def __init__(self, source: Source, framing: Framing, *, mode: str = "RGB", max_bad: float = MAX_BAD) -> None:
        if not source.by_index:
            raise InputError(
                f"{source.where} cannot be read picture by picture. Pack it (sfumato data pack {source.where} …), or "
                "save it with datasets' save_to_disk"
            )
        self._source, self._framing, self._mode, self._max_bad = source, framing, mode, max_bad
        self.shape = (*framing.size, channels_of(mode))  # of a picture, where no other size is asked for
        self.name, self.source, self.licence = source.name, source.origin, "unknown"
        self.labels, self.kinds, self.captions = source.labels, source.kinds, source.captions
        self.tags: tuple[tuple[str, ...], ...] = ()
        self.quota = Quota(source, max_bad)
        self._bad: dict[int, str] = {}  # what need not be tried again, counted or not

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

    def unlabelled(self) -> OnDemand:
        """The same without labels."""
        return self.with_labels(self.labels[:, :0], {})

    def with_labels(self, labels: np.ndarray, kinds: dict[str, tuple[str, ...]]) -> OnDemand:
        """The same with other labels."""
        source = replace(self._source, labels=labels, kinds=kinds)
        return OnDemand(source, self._framing, mode=self._mode, max_bad=self._max_bad)

    def sizes(self, workers: int = 0) -> np.ndarray:
        """`picture_sizes` of all of them: (N, 2) int64. Those whose header cannot be read are counted."""
        sizes, unreadable = picture_sizes(self._source, workers=workers, max_bad=self._max_bad)
        self.quota.add_all(unreadable.bad)
        self._bad.update(unreadable.bad)
        return sizes

    def take(
        self, index: np.ndarray, numbers: Sequence[int], size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`fetch` pictures, and count those that cannot be read.

        Returns:
            (N,) the pictures that were taken, and (N, H, W, C) uint8.

        Raises:
            InputError: too many cannot be read; they are named.
        """
        fetched = self.fetch(index, numbers, size)
        self.quota.add_all(fetched.unreadable)
        return fetched.taken, fetched.images

    def fetch(
        self,
        index: np.ndarray,
        numbers: Sequence[int],
        size: tuple[int, int] | None = None,
        among: np.ndarray | None = None,
    ) -> Fetched:
        """Decode the pictures at `index`, and leave it to the caller to count those that cannot be read.

        The next one that can be takes the place of one that cannot, label and caption included: so what is shown stays
        a function of the data alone.

        Args:
            index: (N,) which pictures.
            numbers: (N,) of the run, which decide about random crops.
            size: (height, width) of this batch, where it is not the framing's: that of its bucket.
            among: rising numbers of the pictures that may take the place of another, as long as there is one; all.

        Raises:
            InputError: no picture can be read.
        """
        taken, images, unreadable = np.array(index, np.int64), [], {}
        for row, number in enumerate(numbers):
            for i in self._candidates(int(taken[row]), among):
                picture = self._picture(i, number, size)
                if picture is not None:
                    break
                unreadable[i] = self._bad[i]
            else:
                first = f"{shown(self._source.names[0])}: {self._bad[0]}"
                raise InputError(f"{self._source.where}: not one picture can be read; {first}")
            taken[row] = i
            images.append(picture)
        return Fetched(taken, np.stack(images), unreadable)

    def _candidates(self, i: int, among: np.ndarray | None) -> Iterator[int]:
        """Picture i, and those that may stand in for it: the next ones of `among`, then the next ones of all."""
        yield i
        if among is not None:
            yield from np.roll(among, -np.searchsorted(among, i, side="right")).tolist()
        yield from range(i + 1, len(self))
        yield from range(i)

    def _picture(self, i: int, number: int, size: tuple[int, int] | None) -> np.ndarray | None:
        if i in self._bad:
            return None
        try:
            return decoded(self._source, i, self._framing, self._mode, number, size)
        except InputError as error:
            self._bad[i] = str(error)
            return None
