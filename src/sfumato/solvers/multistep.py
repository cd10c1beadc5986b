"""What all deterministic multistep solvers share: the exact linear part, and which calls a step looks at.

The probability-flow ODE can be written for each kind of prediction, with ρ = σ/α and φ = atan(ρ):

    x0    x_s = (σ_s/σ_t)·x_t + σ_s·∫ x̂0 d(α/σ)           Lu et al. 2022b, eq. 8
    eps   x_s = (α_s/α_t)·x_t + α_s·∫ ε̂ dρ                 Lu et al. 2022, eq. 3.4
    v     x_s/r_s = x_t/r_t + ∫ v̂ dφ,  r = √(α² + σ²)      Salimans & Ho 2022, appendix D

A multistep solver puts the polynomial through the latest predictions in their place. It differs from the others in the
prediction, in the variable in which that is a polynomial, and in the order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from sfumato.diffusion.prediction import Prediction
from sfumato.solvers.first_order import first_order
from sfumato.solvers.point import Point
from sfumato.solvers.table import Row
from sfumato.solvers.terms import combine

__all__ = ["looked_at", "multistep"]

Weigh = Callable[[Sequence[Point], Point], Sequence[float]]
"""(nodes, the latest first; q) -> the weight of the prediction at each node in the step from nodes[0] to q"""


def multistep(
    points: Sequence[Point],
    order: int,
    prediction: Prediction,
    weigh: Weigh,
    *,
    lower_order_final: bool,
    reaches_zero: bool = False,
) -> list[Row]:
    """The rows of a deterministic multistep solver.

    Args:
        points: of the steps' times.
        order: calls that a step looks at, once there are as many.
        prediction: which is interpolated.
        weigh: the weights of the predictions in a step.
        lower_order_final: let the order fall to 2 and 1 in the last steps.
        reaches_zero: whether `weigh` can be asked for a step to data, where σ = 0.
    """
    rows = []
    for i, (p, q) in enumerate(pairwise(points)):
        if prediction == "v":  # finite everywhere
            nodes = points[max(i + 1 - order, 0) : i + 1][::-1]
            nodes = nodes[: len(points) - 1 - i] if lower_order_final else nodes
        else:
            nodes = looked_at(points, i, order, lower_order_final, reaches_zero)
        if len(nodes) == 1 and prediction != "v":
            rows.append(first_order(p, q))
            continue
        terms = [(k, node, weight) for k, (node, weight) in enumerate(zip(nodes, weigh(nodes, q), strict=True))]
        rows.append(combine(p.t, prediction, _kept(prediction, p, q), 0, terms))
    return rows


def _kept(prediction: Prediction, p: Point, q: Point) -> float:
    if prediction == "eps":
        return q.alpha / p.alpha
    return q.sigma / p.sigma if prediction == "x0" else q.norm / p.norm


def looked_at(
    points: Sequence[Point], i: int, order: int, lower_order_final: bool, reaches_zero: bool = False
) -> Sequence[Point]:
    """The points whose calls the step from points[i] looks at, the latest first: `order` of them, where that can be.

    Only the step's own where it begins or ends at pure noise (α = 0) or, unless `reaches_zero`, ends at data (σ = 0),
    which are infinitely far in ℓ; and no step looks back to pure noise.
    """
    p, q = points[i : i + 2]
    if p.alpha == 0 or q.alpha == 0 or (q.sigma == 0 and not reaches_zero):
        return [p]
    nodes = [node for node in points[max(i + 1 - order, 0) : i + 1][::-1] if node.alpha]
    return nodes[: len(points) - 1 - i] if lower_order_final else nodes
