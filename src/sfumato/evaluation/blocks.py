"""Inner products and distances of all pairs, a block at a time: memory stays bounded at any number and any width."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["products", "spans", "squared_distances", "squares"]

ROWS, WIDTH = 1024, 4096  # of a block: at most 32 MiB in float64
ROUNDING = 1e-12  # relative to ‖x‖² + ‖y‖²: what float64 leaves of ‖x - y‖² where x = y, at some thousand features


def spans(count: int, size: int = ROWS) -> Iterator[slice]:
    """0 … count - 1 in consecutive pieces of `size` at most."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """x·y of every pair of rows: (a, D), (b, D) of any real type -> (a, b) float64."""
    total = np.zeros((len(one), len(other)))
    for part in spans(one.shape[1], WIDTH):
        total += one[:, part].astype(np.float64, copy=False) @ other[:, part].astype(np.float64, copy=False).T
    return total


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """‖x - y‖² of every pair of rows: (a, D), (b, D) of any real type -> (a, b) float64.

    Exact for whole numbers, such as pixels. Otherwise rows nearer than a millionth of their length count as equal, as
    ‖x‖² + ‖y‖² - 2·x·y cannot tell them apart.
    """
    scale = squares(one)[:, None] + squares(other)
    square = products(one, other)
    square *= -2
    square += scale
    square[square < ROUNDING * scale] = 0
    return square


def squares(rows: np.ndarray) -> np.ndarray:
    """‖x‖² of every row: (a, D) of any real type -> (a,) float64."""
    return np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
