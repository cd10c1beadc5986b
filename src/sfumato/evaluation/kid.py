"""KID, the kernel Inception distance, on any features: MMD² with a cubic kernel (Bińkowski et al. 2018).

It is KID only on Inception-v3's features; on others it is KD-<extractor> (`names`). Unlike the Fréchet distance its
estimate has no bias, so numbers of different n mean the same; only their noise differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.feature_sets import feature_pair
from sfumato.evaluation.mmd import unbiased_mmd2
from sfumato.seeds import Stream, check_seed, permutation

__all__ = ["KidOfSubsets", "cubic", "kid", "kid_of_subsets"]


@dataclass(frozen=True)
class KidOfSubsets:
    """The mean of KID over random subsets, as most papers give it.

    Attributes:
        value: the mean over subsets.
        deviation: of the subsets' values, with subsets - 1 in the denominator: what papers print after ±.
        standard_error: deviation/√subsets, of `value` as an estimate of the KID of all these pictures. Other pictures
            would change it by more: subsets share pictures, so drawing more of them does not add what is not there.
            `sfumato.evaluation.intervals` tells how much.
        size, subsets, seed: as asked.
    """

    value: float
    deviation: float
    standard_error: float
    size: int
    subsets: int
    seed: int


def kid(one: np.ndarray, other: np.ndarray) -> float:
    """Unbiased MMD² with k(x, y) = (x·y/D + 1)³, over all pictures (Bińkowski et al. 2018).

    Args:
        one, other: features (n, D) and (m, D), n, m ≥ 2, in either order. Memory does not grow with n·m.

    Returns:
        Without the factor of 100 or 1000 that some tables have. May be negative where the sets are alike.

    Raises:
        InputError: for features of different widths, too few of them, or NaN.
    """
    one, other = feature_pair(one, other, least=2)
    width = one.shape[1]
    return unbiased_mmd2(one, other, lambda inner: cubic(inner, width))


def cubic(inner: np.ndarray, width: int) -> np.ndarray:
    """(x·y/D + 1)³ of inner products."""
    base = inner / width + 1
    return base * base * base  # much quicker than a power


def kid_of_subsets(
    one: np.ndarray, other: np.ndarray, *, size: int = 1000, subsets: int = 100, seed: int = 0
) -> KidOfSubsets:
    """The mean of `kid` over pairs of random subsets of equal size, with its spread.

    Args:
        one, other: features (n, D) and (m, D).
        size: pictures in each subset, drawn without replacement from each side.
        subsets: how many pairs of them.
        seed: which.

    Raises:
        InputError: also where a side has fewer than `size` pictures, or there are too few to have a spread.
    """
    one, other = feature_pair(one, other, least=2)
    check_seed(seed)
    if not 2 <= size <= min(len(one), len(other)):
        raise InputError(
            f"size must be from 2 to {min(len(one), len(other))}, the pictures on the smaller side, not {size}"
        )
    if subsets < 2:
        raise InputError(f"subsets must be 2 or more to have a spread, not {subsets}; `kid` takes all pictures at once")

    def draw(features: np.ndarray, number: int) -> np.ndarray:
        return features[permutation(len(features), seed, Stream.SPLIT, number)[:size]]

    # from 1 on: number 0 with seed 0 parts data sets into the halves that are compared
    values = [kid(draw(one, 2 * i + 1), draw(other, 2 * i + 2)) for i in range(subsets)]
    deviation = float(np.std(values, ddof=1))
    return KidOfSubsets(float(np.mean(values)), deviation, deviation / subsets**0.5, size, subsets, seed)
