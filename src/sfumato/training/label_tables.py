"""What becomes of a model's labels when it goes on with other data: old ones keep what they mean, new ones join."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.data.on_demand import OnDemand
from sfumato.networks.config import NO_LABEL

__all__ = ["Kinds", "joined", "tables", "unknown", "with_kinds"]

Kinds = Mapping[str, tuple[str, ...]]
"""kind of label -> names of its classes, in the order of their table"""


def joined(known: Kinds, more: Kinds) -> dict[str, tuple[str, ...]]:
    """All that are known, in their places, and behind them the other names of each kind, and the other kinds."""
    return {
        kind: tuple(dict.fromkeys([*known.get(kind, ()), *more.get(kind, ())]))
        for kind in dict.fromkeys([*known, *more])
    }


def unknown(known: Kinds, more: Kinds) -> str:
    """In words, which of `more` are not known; empty where all are."""
    found = {kind: [name for name in names if name not in known.get(kind, ())] for kind, names in more.items()}
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in found.items() if names)


def with_kinds(data: Dataset | OnDemand, kinds: Kinds) -> Dataset | OnDemand:
    """The same pictures with labels of these kinds, which hold all of theirs; those that they lack are left open."""
    labels = np.full((len(data), len(kinds)), NO_LABEL, np.int64)
    for (kind, names), column in zip(data.kinds.items(), data.labels.T, strict=True):
        place = np.array([*(kinds[kind].index(name) for name in names), NO_LABEL])  # the last one is that of -1
        labels[:, list(kinds).index(kind)] = place[column]
    return data.with_labels(labels, dict(kinds))


def tables(labels: LabelSet, old: list[Tensor], kinds: Kinds, features: int) -> list[Tensor]:
    """The embeddings of `kinds`, a table each, whose last row stands for no label.

    A label that the model has learned keeps its row. Another one begins with the row for no label of its kind, and with
    zeros where the model does not have that kind: so a network says of every picture what it said of it before.

    Args:
        labels, old: the model's labels and their tables (names + 1, features).
        kinds: what `joined` makes of them.
        features: width of an embedding.
    """
    known, learned = labels.kinds, labels.seen
    result = []
    for kind, names in kinds.items():
        if kind in known:
            rows = [known[kind].index(name) if name in learned[kind] else -1 for name in names]
            result.append(old[list(known).index(kind)][[*rows, -1]])
        else:
            result.append(torch.zeros(len(names) + 1, features))
    return result
