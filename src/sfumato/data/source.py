"""Pictures somewhere, not decoded yet, and what is known of each: a folder, an archive or a table, all alike."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from sfumato.data.dataset import Dataset
from sfumato.data.metadata import Metadata, numbered
from sfumato.errors import InputError
from sfumato.images import MAX_PIXELS, opened, shown

__all__ = ["LARGEST", "SUFFIXES", "Quota", "Report", "Source", "described", "is_picture", "some_of"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
LARGEST = 2**28  # bytes of one picture in an archive, unpacked; a member that declares more is not read


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures in a fixed order.

    Attributes:
        name: short name, for logs and the model card.
        where: the path as it may be printed, for messages.
        origin: where the pictures come from, for the model card.
        names: of the pictures; unique.
        content: number of a picture -> its file, or the bytes of one. Raises `InputError` where it cannot be had. May
            be called by several threads at once.
        sizes: (N,) int64, bytes of each picture as stored; -1 where that is not known.
        labels, kinds, captions: as in `Dataset`, for all N pictures.
        unlisted: pictures that a metadata file beside them does not mention; they are left out.
        ignored: keys of the metadata that are not used.
        others: files that are no pictures.
        by_index: whether one picture can be had without reading those before it.
    """

    name: str
    where: str
    origin: str
    names: Sequence[str]
    content: Callable[[int], Path | bytes]
    sizes: np.ndarray
    labels: np.ndarray
    kinds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    by_index: bool = True

    def __len__(self) -> int:
        return len(self.names)

    @contextmanager
    def opened(self, i: int, *, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
        """Open picture `i` as `images.opened` does. The message of an `InputError` is the bare reason."""
        content = self.content(i)
        try:
            with opened(content, max_pixels=max_pixels) as image:
                yield image
        except InputError as error:
            raise type(error)(str(error).removeprefix(f"{shown(content)}: ")) from error

    def dataset(self, images: np.ndarray, good: Sequence[int]) -> Dataset:
        """The data set of the pictures `good`, decoded as `images`, (N, H, W, C)."""
        captions = tuple(self.captions[i] for i in good) if self.captions else ()
        return Dataset(self.name, images, self.labels[np.asarray(good, int)], self.kinds, captions, source=self.origin)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over names, sizes in bytes, labels and class names; pixels are not read for it."""
        digest = hashlib.sha256(json.dumps([list(self.names), list(self.kinds.items())]).encode())
        digest.update(np.ascontiguousarray(self.sizes, dtype=np.int64).data)
        digest.update(np.ascontiguousarray(self.labels, dtype=np.int64).data)
        return digest.hexdigest()


class Quota:
    """Counts the pictures of a source that cannot be read. A few are left out; too many stop the work, and are named.

    Args:
        source: what is read.
        share: greatest tolerable share of its pictures, 0 … 1; but always one.

    Attributes:
        bad: number of a picture -> why it cannot be read.
    """

    def __init__(self, source: Source, share: float) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"max_bad is a share from 0 to 1, not {share}")
        self._source, self._most = source, max(1, int(share * len(source)))
        self._lock = threading.Lock()
        self.bad: dict[int, str] = {}

    def add(self, i: int, reason: str) -> None:
        """Note that picture `i` cannot be read. Raises `InputError` when that is one too many."""
        with self._lock:
            self.bad[i] = reason
            if len(self.bad) > min(self._most, len(self._source) - 1):
                raise InputError(self._message())

    def add_all(self, unreadable: Mapping[int, str]) -> None:
        """`add` each of several."""
        for i, reason in unreadable.items():
            self.add(i, reason)

    def report(self) -> Report:
        """What was read and left out, where every picture was looked at."""
        bad = tuple((shown(self._source.names[i]), self.bad[i]) for i in sorted(self.bad))
        used = len(self._source) - len(bad)
        return Report(used, bad, tuple(map(shown, self._source.unlisted)), self._source.ignored)

    def _message(self) -> str:
        lines = (f"{shown(self._source.names[i])}: {self.bad[i]}" for i in sorted(self.bad))
        few = "\n".join(some_of(lines, 5))
        return (
            f"{len(self.bad)} of {len(self._source)} pictures in {self._source.where} cannot be read, and no more were "
            f"tried:\n{few}\nSee them all with `sfumato data check {self._source.where}`, then mend or remove them."
        )


@dataclass(frozen=True)
class Report:
    """What reading a source met.

    Attributes:
        used: number of pictures in the data set.
        bad: (name, reason) of each picture that had to be left out.
        unlisted: pictures that the metadata file does not mention; they are left out too.
        ignored: further keys of the metadata, which are not used.
    """

    used: int
    bad: tuple[tuple[str, str], ...] = ()
    unlisted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def text(self) -> str:
        """The report for people, one fact a line."""
        return "\n".join([f"{self.used} pictures read", *self.left_out()])

    def left_out(self) -> list[str]:
        """What was left out, one fact a line."""
        lines = []
        if self.bad:
            lines += [
                f"{len(self.bad)} left out because they cannot be read:",
                *some_of(f"{n}: {r}" for n, r in self.bad),
            ]
        if self.unlisted:
            lines += [
                f"{len(self.unlisted)} left out because the metadata does not list them:",
                *some_of(self.unlisted),
            ]
        if self.ignored:
            lines.append(f"metadata keys that are not used: {', '.join(map(shown, self.ignored))}")
        return lines


def described(
    found: Sequence[str], metadata: Metadata | None
) -> tuple[Sequence[str], np.ndarray, dict[str, tuple[str, ...]], tuple[str, ...], tuple[str, ...]]:
    """Which of the pictures `found` are read, and what is known of them: names, labels, kinds, captions, unlisted.

    With metadata these are the pictures that it lists; without, the first folder of a path is its class.
    """
    if metadata is None:
        labels, kinds = numbered([{"class": name.split("/")[0]} if "/" in name else {} for name in found])
        return found, labels, kinds, (), ()
    names = sorted(metadata.labels)
    labels, kinds = numbered([metadata.labels[name] for name in names])
    captions = tuple(metadata.captions.get(name, "") for name in names) if metadata.captions else ()
    return names, labels, kinds, captions, tuple(name for name in found if name not in metadata.labels)


def is_picture(name: str) -> bool:
    """Whether the ending of a name is that of a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def some_of(lines: Iterable[str], limit: int = 10) -> list[str]:
    """The first lines of a list, indented, and how many more there are."""
    lines = list(lines)
    return [f"  {line}" for line in lines[:limit]] + ([f"  … and {len(lines) - limit} more"] * (len(lines) > limit))
