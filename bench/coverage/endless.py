"""Data without end: row number n is a pure function of (seed, n)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sfumato.seeds import Stream, generator

__all__ = ["BLOCK", "rows"]

BLOCK = 4096  # rows that are drawn together


def rows(seed: int, first: int, count: int, draw: Callable[[np.random.Generator, int], np.ndarray]) -> np.ndarray:
    """Rows `first` … `first + count - 1`, count ≥ 1. `draw(random, n)` gives n independent rows."""
    blocks = range(first // BLOCK, (first + count - 1) // BLOCK + 1)
    table = np.concatenate([draw(generator(seed, block, Stream.ORDER), BLOCK) for block in blocks])
    return table[first - blocks.start * BLOCK :][:count]
