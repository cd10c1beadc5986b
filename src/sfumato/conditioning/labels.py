"""Labels by name: several kinds at once (a group and a style, say), any of which may be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sfumato.errors import InputError, nearest
from sfumato.seeds import Stream, generator

__all__ = ["LabelSet"]

NO_LABEL = -1  # as in networks.unet, which this file does without so that no torch is needed


@dataclass(frozen=True)
class LabelSet:
    """The labels a model knows.

    Attributes:
        kinds: kind -> names of its classes, in the order of the network's label tables.
        counts: how often each combination (an index for each kind, -1 for none) occurs in the training data.
        dropout: chance with which training left labels out; 0 means that the model cannot do without them.
    """

    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: tuple[tuple[tuple[int, ...], int], ...] = ()
    dropout: float = 0.0

    @classmethod
    def of(cls, kinds: Mapping[str, tuple[str, ...]], labels: np.ndarray, dropout: float) -> LabelSet:
        """Count the combinations in (N, K) labels."""
        if not kinds:
            return cls()
        rows, counts = np.unique(labels, axis=0, return_counts=True)
        return cls(dict(kinds), tuple((tuple(map(int, r)), int(c)) for r, c in zip(rows, counts, strict=True)), dropout)

    def resolve(self, label: str | Sequence[str]) -> list[int]:
        """Names to a row of K indices, -1 for a kind that is not named.

        Args:
            label: a name, several names, or one string with commas: "food", ["food", "noto"], "food, noto". A name that
                two kinds share is written kind=name. "none" is no label at all.

        Raises:
            InputError: for a name that no kind has (the nearest is named), or two names of one kind.
        """
        words = [label] if isinstance(label, str) else list(label)
        names = [part.strip() for word in words for part in word.split(",") if part.strip()]
        row = [NO_LABEL] * len(self.kinds)
        if [name.lower() for name in names] == ["none"]:
            return row
        if not self.kinds:
            raise InputError(f"label {label!r}: this model was trained without labels")
        for name in names:
            column, index = self._find(name)
            if row[column] != NO_LABEL:
                kind = list(self.kinds)[column]
                raise InputError(f"two labels of kind {kind!r} for one picture: {', '.join(names)}")
            row[column] = index
        return row

    def rows(self, label: str | Sequence[str] | None, seeds: Sequence[int]) -> np.ndarray:
        """(N, K) int64, a row for each seed: the named label, or, for None, one drawn as the training data has them."""
        if label is not None:
            return np.tile(np.asarray(self.resolve(label), np.int64).reshape(1, len(self.kinds)), (len(seeds), 1))
        if not self.counts:
            return np.full((len(seeds), len(self.kinds)), NO_LABEL, np.int64)
        edges = np.cumsum([count for _, count in self.counts])
        picks = [int(generator(seed, 0, Stream.LABEL).random() * edges[-1]) for seed in seeds]
        chosen = [self.counts[int(np.searchsorted(edges, pick, side="right"))][0] for pick in picks]
        return np.asarray(chosen, np.int64).reshape(len(seeds), len(self.kinds))

    def describe(self, row: Sequence[int]) -> str:
        """The names of a row of indices: "food, noto"; "none" when there are none."""
        named = [names[i] for i, names in zip(row, self.kinds.values(), strict=True) if i != NO_LABEL]
        return ", ".join(named) or "none"

    def _find(self, name: str) -> tuple[int, int]:
        wanted_kind, _, bare = name.rpartition("=")
        if wanted_kind and wanted_kind not in self.kinds:
            raise InputError(f"label {name!r}: no kind {wanted_kind!r}. {nearest(wanted_kind, self.kinds)}")
        found = [
            (column, list(map(str.lower, names)).index(bare.lower()))
            for column, (kind, names) in enumerate(self.kinds.items())
            if wanted_kind in ("", kind) and bare.lower() in map(str.lower, names)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            options = " or ".join(f"{list(self.kinds)[column]}={bare}" for column, _ in found)
            raise InputError(f"label {bare!r} belongs to several kinds; write {options}")
        known = [n for kind, names in self.kinds.items() if wanted_kind in ("", kind) for n in names]
        raise InputError(f"no label {bare!r}. {nearest(bare, known)}")
