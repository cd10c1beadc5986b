"""Are the pictures good, and are they all kinds? Precision, recall, density and coverage of neighbourhoods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.blocks import spans, squared_distances
from sfumato.evaluation.feature_sets import feature_pair
from sfumato.evaluation.neighbours import squared_radii

__all__ = ["Prdc", "prdc"]


@dataclass(frozen=True)
class Prdc:
    """How made pictures lie among real ones. A ball reaches from a picture to its k-th nearest other of its own set.

    Attributes:
        precision: share of made pictures within a ball of a real one.
        recall: share of real pictures within a ball of a made one.
        density: real balls that a made picture lies in, on average, over k; above 1 where made pictures crowd.
        coverage: share of real pictures whose ball holds a made one.
        k, n_real, n_made: on which all of them depend: compare only numbers that agree in these.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int
    n_real: int
    n_made: int


def prdc(real: np.ndarray, made: np.ndarray, k: int) -> Prdc:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A ball holds its surface. Pictures of one law on both sides reach, on average, a density of 1 and a coverage of
    1 - Π_{i=1…k} (n - i)/(n + m - i), n of them being real and m made: about 1 - 2⁻ᵏ for n = m (Naeem et al.).

    Args:
        real: features (n, D).
        made: features (m, D).
        k: neighbours; Kynkäänniemi et al. take 3, Naeem et al. 5. Less than n and m.

    Returns:
        All four. Needs about 100 MB besides the features, at any n and m, and time for n² + m² + n·m distances.

    Raises:
        InputError: for features of different widths, NaN, or too few of them for k.
    """
    real, made = feature_pair(real, made, names=("the real features", "the made features"))
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k must be a whole number from 1 on, not {k!r}")
    if k >= min(len(real), len(made)):
        raise InputError(
            f"k = {k} neighbours need {k + 1} pictures on each side, there are {len(real)} real and {len(made)} made: "
            "take more pictures or a smaller k"
        )
    around_real, around_made = squared_radii(real, k), squared_radii(made, k)
    balls = np.zeros(len(made), np.int64)  # of real pictures, that each made one lies in
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows in spans(len(real)):
        for columns in spans(len(made)):
            square = squared_distances(real[rows], made[columns])
            inside = square <= around_real[rows, None]
            balls[columns] += inside.sum(0)
            covered[rows] |= inside.any(1)
            recalled[rows] |= (square <= around_made[columns]).any(1)
    return Prdc(
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls.mean() / k),
        coverage=float(covered.mean()),
        k=int(k),
        n_real=len(real),
        n_made=len(made),
    )
