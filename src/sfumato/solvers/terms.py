"""From a formula in ε̂ or v̂ to a row of a table, which knows only points and x̂0."""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.diffusion.prediction import Prediction
from sfumato.solvers.point import Point
from sfumato.solvers.table import Row

__all__ = ["combine"]


def combine(
    t: float,
    prediction: Prediction,
    kept: float,
    start: int,
    terms: Sequence[tuple[int, Point, float]],
    noise: float = 0.0,
) -> Row:
    """The row of x_next = kept·x_{start calls ago} + Σ weight·prediction_{k calls ago} + noise·z.

    Args:
        t: time of the call.
        prediction: what the terms are of: ε̂ = (x - α·x̂0)/σ, v̂ = (α·ε̂ - σ·x̂0)/√(α² + σ²), or x̂0 itself.
        kept, start: the weight of the point that the step began at, and how many calls ago that was.
        terms: (k, the point where that call was made, weight).
    """
    window = max(start, *(k for k, _, _ in terms)) + 1
    x, d = [0.0] * window, [0.0] * window
    x[start] += kept
    for k, at, weight in terms:
        if prediction == "x0":
            d[k] += weight
        elif prediction == "eps":
            x[k] += weight / at.sigma
            d[k] -= weight * at.alpha / at.sigma
        else:
            x[k] += weight * at.alpha / at.sigma / at.norm
            d[k] -= weight * at.norm / at.sigma
    return Row(t, x, d, noise)
