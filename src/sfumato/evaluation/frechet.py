"""The Fréchet distance between two sets of features, each summed up as a Gaussian."""

from __future__ import annotations

import numpy as np

from sfumato.errors import InputError

__all__ = ["frechet_distance", "moments"]


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D), unbiased, of features (n, D), in float64. Needs n ≥ 2 and finite numbers."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise InputError(f"features must be (n, D) with n ≥ 2, not {features.shape}")
    if not np.isfinite(features).all():
        raise InputError("features hold NaN or infinity")
    return features.mean(0), np.cov(features, rowvar=False).reshape(features.shape[1], features.shape[1])


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """‖μ₁ - μ₂‖² + tr(Σ₁ + Σ₂ - 2·(Σ₁Σ₂)^½) (Dowson & Landau 1982; Heusel et al. 2017).

    Args:
        one, other: features (n, D) and (m, D). With fewer than D of them the covariance is singular and the distance is
            biased upwards: compare only numbers of equal n.

    Returns:
        The squared distance, float64. tr (Σ₁Σ₂)^½ is the sum of the singular values of Σ₁^½·Σ₂^½, all real, so singular
        covariances do no harm.
    """
    (mean1, cov1), (mean2, cov2) = moments(one), moments(other)
    if mean1.shape != mean2.shape:
        raise InputError(f"features of different width: {mean1.shape[0]} and {mean2.shape[0]}")
    cross = np.linalg.svd(_root(cov1) @ _root(cov2), compute_uv=False).sum()
    return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * cross)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
