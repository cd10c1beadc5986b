"""Maximum mean discrepancy: how far apart two laws are, seen through a kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sfumato.evaluation.blocks import products, spans

__all__ = ["unbiased_mmd2"]

Kernel = Callable[[np.ndarray], np.ndarray]


def unbiased_mmd2(one: np.ndarray, other: np.ndarray, kernel: Kernel) -> float:
    """MMD² = E k(x, x') + E k(y, y') - 2·E k(x, y), without bias (Gretton et al. 2012, lemma 6).

    The means within a set leave out k(x, x), so the estimate is right on average at any n, and falls below zero about
    half of the time where the laws are equal.

    Args:
        one, other: features (n, D) and (m, D), n, m ≥ 2.
        kernel: a function of the inner product x·y alone, on blocks of it.
    """
    n, m = len(one), len(other)
    within = _within(one, kernel) / (n * (n - 1)) + _within(other, kernel) / (m * (m - 1))
    across = sum(kernel(products(one[i], other[j])).sum() for i in spans(n) for j in spans(m))
    return float(within - 2 * across / (n * m))


def _within(features: np.ndarray, kernel: Kernel) -> float:
    """Σ k(x_i, x_j) over i ≠ j. The kernel is symmetric: blocks below the diagonal stand above it too."""
    total = 0.0
    for i in spans(len(features)):
        block = kernel(products(features[i], features[i]))
        total += block.sum() - np.trace(block)
        total += 2 * sum(
            kernel(products(features[i], features[j])).sum() for j in spans(len(features)) if j.start > i.start
        )
    return total
