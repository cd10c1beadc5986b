"""How many different pictures there are in a set of pictures: the Vendi score."""

from __future__ import annotations

import numpy as np

from sfumato.evaluation.feature_sets import feature_set, unit_rows

__all__ = ["vendi_score"]


def vendi_score(features: np.ndarray) -> float:
    """exp(-Σ λ·log λ) over the eigenvalues λ of K/n, K holding cosines (Friedman & Dieng 2023, definition 3.1).

    An effective number: 1 where all directions are equal, n where all are orthogonal, never above D. Features that are
    never negative have cosines far from 0 and so few "different" pictures: compare only within one extractor and n.

    Args:
        features: (n, D), n ≥ 1.

    Raises:
        InputError: for NaN, no rows, or a row of zeros.
    """
    rows = unit_rows(feature_set(features))
    n, width = rows.shape
    # XXᵀ and XᵀX have the same eigenvalues but for zeros, which add nothing: take the smaller
    values = np.linalg.eigvalsh(rows.T @ rows if width < n else rows @ rows.T) / n
    values = values[values > 0]  # rounding leaves some a little below zero
    return float(np.exp(-(values * np.log(values)).sum()))
