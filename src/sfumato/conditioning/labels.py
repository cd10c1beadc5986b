"""Labels by name: several kinds at once (a group and a style, say), any of which may be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sfumato.errors import InputError, nearest
from sfumato.networks.config import NO_LABEL
from sfumato.seeds import Stream, generator

__all__ = ["LabelSet"]


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

    def __post_init__(self) -> None:
        for kind, names in self.kinds.items():
            if len(set(names)) < len(names) or "" in names:
                raise InputError(f"labels of kind {kind!r}: names must differ and not be empty")
        sizes = [len(names) for names in self.kinds.values()]
        for row, count in self.counts:
            fits = len(row) == len(sizes) and all(NO_LABEL <= i < n for i, n in zip(row, sizes, strict=True))
            if not fits or count < 1:
                raise InputError(f"labels: {list(row)} occurring {count} times cannot be")
        if not 0 <= self.dropout <= 1:
            raise InputError(f"labels: dropout is a share from 0 to 1, not {self.dropout}")

    @classmethod
    def of(cls, kinds: Mapping[str, tuple[str, ...]], labels: np.ndarray, dropout: float) -> LabelSet:
        """Count the combinations in (N, K) labels."""
        if not kinds:
            return cls()
        rows, counts = np.unique(labels, axis=0, return_counts=True)
        return cls(dict(kinds), tuple((tuple(map(int, r)), int(c)) for r, c in zip(rows, counts, strict=True)), dropout)

    @property
    def seen(self) -> dict[str, tuple[str, ...]]:
        """The names that can be asked for: those that occur in the training data."""
        return {
            kind: tuple(name for index, name in enumerate(names) if self._occurs(column, index))
            for column, (kind, names) in enumerate(self.kinds.items())
        }

    def resolve(self, label: str | Sequence[str]) -> list[int]:
        """Names to a row of K indices, -1 for a kind that is not named.

        Args:
            label: a name, several names, or one string with commas: "food", ["food", "noto"], "food, noto". A name that
                two kinds share is written kind=name. "none" is no label at all. Upper and lower case matter only
                between names that differ in nothing else.

        Raises:
            InputError: for a name that no kind has or that training never saw (the nearest is named), or two names of
                one kind.
        """
        words = [label] if isinstance(label, str) else list(label)
        names = [name for word in words for name in ([word] if self._find(word) else word.split(","))]
        names = [name.strip() for name in names]
        row = [NO_LABEL] * len(self.kinds)
        if names == ["none"] and not self._find("none"):
            return row
        if not self.kinds:
            raise InputError(f"label {label!r}: this model was trained without labels")
        if not names or "" in names:
            raise InputError(f"label {label!r} names nothing; write 'none' for no label")
        for name in names:
            column, index = self._one(name)
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

    def check(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Return (count, K) label indices as int64; raise `InputError` for another shape or a class there is not."""
        if rows.shape != (count, len(self.kinds)):
            raise InputError(f"labels must have the shape ({count}, {len(self.kinds)}), not {rows.shape}")
        for column, (kind, names) in enumerate(self.kinds.items()):
            wrong = [int(i) for i in rows[:, column] if not NO_LABEL <= i < len(names)]
            if wrong:
                raise InputError(f"there is no class {wrong[0]} of label kind {kind!r}; there are 0 … {len(names) - 1}")
        return rows.astype(np.int64, casting="same_kind")

    def describe(self, row: Sequence[int]) -> list[str]:
        """The names of a row of indices, as `resolve` takes them: ["group=food", "style=noto"], or ["none"]."""
        kinds = self.kinds.items()
        return [f"{kind}={names[i]}" for i, (kind, names) in zip(row, kinds, strict=True) if i != NO_LABEL] or ["none"]

    def _one(self, name: str) -> tuple[int, int]:
        found = self._find(name)
        if len(found) == 1:
            return found[0]
        if found:
            options = [f"{kind}={names[i]}" for c, i in found for kind, names in [list(self.kinds.items())[c]]]
            raise InputError(f"label {name!r} may mean several things; write {' or '.join(options)}")
        kind, _, bare = name.partition("=")
        if bare and kind not in self.kinds:
            raise InputError(f"label {name!r}: no kind {kind!r}. {nearest(kind, self.kinds)}")
        known = [n for k, names in self.seen.items() if not bare or k == kind for n in names]
        raise InputError(f"no label {name!r}. {nearest(bare or name, known)}")

    def _find(self, name: str) -> list[tuple[int, int]]:
        """All (column, index) that a name may mean: those spelled exactly so, or else those that differ in case."""
        meanings = [
            (spelling, (column, index))
            for column, (kind, names) in enumerate(self.kinds.items())
            for index, known in enumerate(names)
            if self._occurs(column, index)
            for spelling in (known, f"{kind}={known}")
        ]
        exact = [place for spelling, place in meanings if spelling == name.strip()]
        return exact or [place for spelling, place in meanings if spelling.lower() == name.strip().lower()]

    def _occurs(self, column: int, index: int) -> bool:
        return not self.counts or any(row[column] == index for row, _ in self.counts)
