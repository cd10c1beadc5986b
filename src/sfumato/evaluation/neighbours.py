"""Nearest neighbours by Euclidean distance: found by trying all, which at some ten thousand pictures is quick."""

from __future__ import annotations

import numpy as np

from sfumato.evaluation.blocks import spans, squared_distances

__all__ = ["nearest", "squared_radii"]


def nearest(queries: np.ndarray, among: np.ndarray, skip: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `among` to each query; the first of them where several are equally near.

    Args:
        queries: (n, D).
        among: (m, D); not empty, and more than what `skip` takes away.
        skip: (n,) or (n, s), a row of `among` that a query is not compared with, such as itself, or several.

    Returns:
        Rows of `among` (n,) int64, and the distances (n,) float64, from differences and so exact to rounding.
    """
    found, best = np.zeros(len(queries), np.int64), np.full(len(queries), np.inf)
    for rows in spans(len(queries)):
        for columns in spans(len(among)):
            square = squared_distances(queries[rows], among[columns])
            if skip is not None:
                square[_pairs(skip[rows], columns)] = np.inf
            at = square.argmin(1)
            value = square[np.arange(len(at)), at]
            nearer = value < best[rows]
            found[rows][nearer] = columns.start + at[nearer]
            best[rows][nearer] = value[nearer]
    gaps = (q.astype(np.float64) - among[i] for q, i in zip(queries, found, strict=True))
    return found, np.array([np.linalg.norm(gap) for gap in gaps])


def squared_radii(features: np.ndarray, k: int) -> np.ndarray:
    """‖x - y‖² from each row (n, D) to its k-th nearest other row, 1 ≤ k < n: (n,) float64."""
    radii = np.empty(len(features))
    for rows in spans(len(features)):
        own = np.arange(rows.start, rows.stop)
        kept = np.full((len(own), k), np.inf)
        for columns in spans(len(features)):
            square = squared_distances(features[rows], features[columns])
            square[_pairs(own, columns)] = np.inf
            kept = np.partition(np.concatenate([kept, square], axis=1), k - 1, axis=1)[:, :k]
        radii[rows] = kept[:, k - 1]
    return radii


def _pairs(skipped: np.ndarray, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Where, in a block of these columns, each row meets those that it skips: row and column numbers."""
    skipped = skipped.reshape(len(skipped), -1)
    row, which = np.nonzero((columns.start <= skipped) & (skipped < columns.stop))
    return row, skipped[row, which] - columns.start
