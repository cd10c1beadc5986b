"""What pictures are asked for: labels or a text each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["Asked", "one_each"]


@dataclass(frozen=True, eq=False)
class Asked:
    """What N pictures are asked for.

    Attributes:
        rows: (N, K) int64 labels, -1 for none; K is 0 for a model without labels.
        texts: N prompts, or none for a model that reads no text.
        pictures: (N, C, H, W) what a network with further input channels sees.
    """

    rows: np.ndarray
    texts: tuple[str, ...] = ()
    pictures: Tensor | None = None

    @classmethod
    def of(cls, value: Asked | Tensor) -> Asked:
        """As it is; a tensor stands for labels."""
        return value if isinstance(value, Asked) else cls(value.cpu().numpy())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Asked:
        """Some of them."""
        pictures = None if self.pictures is None else self.pictures[part]
        return replace(self, rows=self.rows[part], texts=self.texts[part], pictures=pictures)


def one_each(texts: str | Sequence[str], n: int) -> tuple[str, ...]:
    """n texts: one for all, or as many as there are pictures."""
    if isinstance(texts, str):
        return (texts,) * n
    if not isinstance(texts, list | tuple):
        raise InputError(f"a prompt is a text, or a list with one for each picture, not {type(texts).__name__}")
    if len(texts) != n:
        raise InputError(f"{len(texts)} prompts for {n} pictures")
    return tuple(texts)
