"""How sure a classifier is of each picture, and how varied over all: the Inception Score's formula for any classifier.

It is the Inception Score only with Inception-v3's classes; with others it is ClassifierScore-<classifier>
(`names`). It knows no real pictures: one good picture a class is a perfect score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.feature_sets import feature_set

__all__ = ["ClassifierScore", "classifier_score"]

TOLERANCE = 1e-3  # of a row's sum, for probabilities that were made in half precision


@dataclass(frozen=True)
class ClassifierScore:
    """Between 1 and the number of classes.

    Attributes:
        value: the mean over splits.
        deviation: of the splits' values, with their number in the denominator, as papers give it; 0 for one split.
        splits, n: on which the value depends: small splits lower it.
    """

    value: float
    deviation: float
    splits: int
    n: int


def classifier_score(probabilities: np.ndarray, splits: int = 10) -> ClassifierScore:
    """exp(E_x KL(p(y|x) ‖ p(y))), p(y) being the mean of p(y|x) (Salimans et al. 2016, sect. 4), split by split.

    Args:
        probabilities: p(y|x), (n, classes): not logits.
        splits: consecutive parts, each with its own p(y); the paper's figures have 10 parts of 5,000. Where pictures
            are sorted by class, shuffle them or take one split.

    Raises:
        InputError: for rows that are no probabilities, or fewer rows than splits.
    """
    p = feature_set(probabilities, name="the probabilities").astype(np.float64, copy=False)
    if splits < 1 or splits > len(p):
        raise InputError(f"splits must be from 1 to {len(p)}, the number of pictures, not {splits}")
    wrong = np.flatnonzero((p < 0).any(1) | (np.abs(p.sum(1) - 1) > TOLERANCE))
    if len(wrong):
        raise InputError(
            f"row {wrong[0]} is no list of probabilities (it sums to {p[wrong[0]].sum():g}): if these are logits, take "
            "their softmax first"
        )
    scores = [_score(part) for part in np.array_split(p, splits)]
    return ClassifierScore(float(np.mean(scores)), float(np.std(scores)), splits, len(p))


def _score(p: np.ndarray) -> float:
    marginal = p.mean(0)
    ratio = np.divide(p, marginal, out=np.ones_like(p), where=p > 0)  # 0·log 0 is 0
    return float(np.exp((p * np.log(ratio)).sum(1).mean()))
