"""CMMD on any features: MMD² with a Gaussian kernel on the unit sphere (Jayasumana et al. 2024, "Rethinking FID").

It is CMMD only with the features of CLIP ViT-L/14 at 336 pixels; with others it is MMD-<extractor> (`names`).
"""

from __future__ import annotations

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.feature_sets import feature_pair, unit_rows
from sfumato.evaluation.mmd import unbiased_mmd2

__all__ = ["SCALE", "cmmd", "gaussian"]

SIGMA, SCALE = 10.0, 1000.0


def cmmd(one: np.ndarray, other: np.ndarray, *, sigma: float = SIGMA, scale: float = SCALE) -> float:
    """scale·MMD² with k(x, y) = exp(-‖x - y‖²/(2σ²)), x and y divided by their norms (Jayasumana et al. 2024).

    Args:
        one, other: features (n, D) and (m, D), n, m ≥ 2, in either order.
        sigma, scale: the paper's values, unless numbers need not compare with its.

    Returns:
        The unbiased estimate, as the paper has it; often negative where the laws are equal. The authors' program keeps
        the terms k(x, x), which adds scale·(1 - mean k(x, x'))/n for each side: with their σ some 5/n.

    Raises:
        InputError: for features of different widths, too few of them, NaN or a row of zeros.
    """
    if not (np.isfinite([sigma, scale]).all() and sigma > 0 and scale > 0):
        raise InputError(f"sigma and scale must be positive numbers, not {sigma} and {scale}")
    one, other = feature_pair(one, other, least=2)
    return scale * unbiased_mmd2(unit_rows(one), unit_rows(other), lambda cosine: gaussian(cosine, sigma))


def gaussian(cosine: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """exp(-‖x - y‖²/(2σ²)) on the unit sphere, where ‖x - y‖² = 2 - 2·x·y."""
    return np.exp((cosine - 1) / sigma**2)
