"""The Fréchet distance between two sets of features, each summed up as a Gaussian."""

from __future__ import annotations

import logging

import numpy as np

from sfumato.evaluation.feature_sets import feature_pair, feature_set

__all__ = ["frechet_distance", "moments"]

log = logging.getLogger("sfumato")


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D), unbiased, of features (n, D), in float64. Needs n ≥ 2 and finite numbers."""
    features = feature_set(features, least=2).astype(np.float64, copy=False)
    return features.mean(0), np.cov(features, rowvar=False).reshape(features.shape[1], features.shape[1])


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2·(Σ₁Σ₂)^½) (Dowson & Landau 1982; Heusel et al. 2017).

    Args:
        one, other: features (n, D) and (m, D). With no more than D of them the covariance is singular and the distance
            far too large, which is logged: compare only numbers of equal n. `sfumato.evaluation.intervals` tells how
            far the number would move with other pictures.

    Returns:
        The squared distance, float64. For any A₁ᵀA₁ = Σ₁ and A₂ᵀA₂ = Σ₂, tr (Σ₁Σ₂)^½ is the sum of the singular values
        of A₁A₂ᵀ, all real, so singular covariances do no harm.
    """
    one, other = feature_pair(one, other, least=2)
    n, width = min(len(one), len(other)), one.shape[1]
    if n <= width:
        log.warning(
            "%d pictures are few for a Fréchet distance on %d features: it is far too large; compare it only at equal "
            "n, or take more than %d",
            n,
            width,
            width,
        )
    (mean1, root1), (mean2, root2) = _mean_and_root(one), _mean_and_root(other)
    cross = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    return float(((mean1 - mean2) ** 2).sum() + (root1**2).sum() + (root2**2).sum() - 2 * cross)


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """μ (D,) and an A with AᵀA = Σ: at few pictures their own rows (n, D), else Σ^½ (D, D)."""
    if len(features) > features.shape[1]:
        mean, covariance = moments(features)
        return mean, _root(covariance)
    rows = features.astype(np.float64)
    mean = rows.mean(0)
    return mean, (rows - mean) / np.sqrt(len(rows) - 1)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
