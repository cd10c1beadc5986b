"""A data set in memory or mapped from disk: uint8 pictures of one size, labels of several kinds, captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sfumato.errors import InputError

__all__ = ["Dataset", "Fetched"]


class Fetched(NamedTuple):
    """Pictures of a batch."""

    taken: np.ndarray  # (N,) int64: which pictures of the data
    images: np.ndarray  # (N, H, W, C) uint8, a copy
    unreadable: Mapping[int, str] = {}  # pictures that were asked for and could not be had, and why


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures, and what is known of each.

    Attributes:
        name: short name, for logs and the model card.
        images: (N, H, W, C) uint8; may be a read-only memory map.
        labels: (N, K) int64, one column for each kind of label; -1 where a picture has none.
        kinds: kind -> the names of its classes, in the order of the columns of `labels`.
        captions: N texts, or none.
        tags: for each picture further words that are true of it, or none.
        source, licence: where the pictures come from and on what terms, for the model card.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    kinds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    tags: tuple[tuple[str, ...], ...] = ()
    source: str = ""
    licence: str = "unknown"

    def __post_init__(self) -> None:
        shape, count = self.images.shape, len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise InputError(f"{self.name}: images must be uint8 (N, H, W, C), not {self.images.dtype} {shape}")
        if self.labels.shape != (count, len(self.kinds)):
            raise InputError(f"{self.name}: labels have shape {self.labels.shape}, not ({count}, {len(self.kinds)})")
        for column, (kind, names) in enumerate(self.kinds.items()):
            values = self.labels[:, column]
            if count and (values.min() < -1 or values.max() >= len(names)):
                raise InputError(f"{self.name}: {kind} labels must lie in -1 … {len(names) - 1}")
        for what, texts in (("captions", self.captions), ("lists of tags", self.tags)):
            if texts and len(texts) != count:
                raise InputError(f"{self.name}: {len(texts)} {what} for {count} pictures")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over pixels, shape, labels and class names: equal exactly when a training run would be equal."""
        digest = hashlib.sha256(json.dumps([self.images.shape, list(self.kinds.items())]).encode())
        for start in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        digest.update(np.ascontiguousarray(self.labels, dtype=np.int64).data)
        return digest.hexdigest()

    @cached_property
    def text_fingerprint(self) -> str:
        """sha256 over captions and tags, for a training that reads them."""
        return hashlib.sha256(json.dumps([self.captions, self.tags]).encode()).hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a picture."""
        return self.images.shape[1:]

    def fetch(self, index: np.ndarray, numbers: Sequence[int]) -> Fetched:
        """The pictures at `index`; as `OnDemand.fetch`, but never others than asked for."""
        return Fetched(index, self.images[index])

    def unlabelled(self) -> Dataset:
        """The same without labels."""
        return self.with_labels(self.labels[:, :0], {})

    def with_labels(self, labels: np.ndarray, kinds: dict[str, tuple[str, ...]]) -> Dataset:
        """The same with other labels."""
        return replace(self, labels=labels, kinds=kinds)

    def subset(self, index: Sequence[int] | np.ndarray, name: str | None = None) -> Dataset:
        """The pictures at `index` (numbers, or a boolean for each picture), with their labels and captions."""
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        captions, tags = (tuple(texts[i] for i in index) if texts else () for texts in (self.captions, self.tags))
        return replace(
            self,
            name=name or self.name,
            images=self.images[index],
            labels=self.labels[index],
            captions=captions,
            tags=tags,
        )
