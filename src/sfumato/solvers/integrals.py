"""The weights of predictions in a step: integrals of the polynomials that are put in their place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sfumato.diffusion.prediction import Prediction
from sfumato.solvers.point import Point

__all__ = ["eps_exponential", "gauss", "lagrange", "midpoint", "whole", "x0_exponential", "x0_whole"]

FAR = 40.0
"""e^-40 is nothing beside 1 in float64: an exponential weight is integrated no further from its peak."""

_GAUSS = np.polynomial.legendre.leggauss(64)


def gauss(start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's rule from start to end: (points, weights)."""
    half = (end - start) / 2
    return start + half * (_GAUSS[0] + 1), half * _GAUSS[1]


def lagrange(nodes: Sequence[float], at: np.ndarray, weights: np.ndarray) -> list[float]:
    """∫ L_j for every Lagrange polynomial L_j on the nodes, by a quadrature rule whose weights carry the measure."""
    integrals = []
    for j, node in enumerate(nodes):
        basis = np.ones_like(at)
        for other in (*nodes[:j], *nodes[j + 1 :]):
            basis *= (at - other) / (node - other)
        integrals.append(float(basis @ weights))
    return integrals


def x0_exponential(nodes: Sequence[Point], p: Point, q: Point, noise: float = 0.0) -> list[float]:
    """x̂0 a polynomial in ℓ through the nodes, in the step from p to q: (1 + n)·α_q·∫ L_j·e^{-(1+n)(ℓ_q - ℓ)} dℓ.

    n = `noise` = η² is 0 for the ODE and 1 for the SDE of the forward process.
    """
    rate = 1 + noise
    at, weights = gauss(max(p.ell, q.ell - FAR / rate), q.ell)
    return lagrange([node.ell for node in nodes], at, rate * q.alpha * weights * np.exp(-rate * (q.ell - at)))


def eps_exponential(nodes: Sequence[Point], p: Point, q: Point) -> list[float]:
    """ε̂ a polynomial in ℓ, which is -log ρ: -σ_q·∫ L_j·e^{ℓ_q - ℓ} dℓ."""
    at, weights = gauss(p.ell, min(q.ell, p.ell + FAR))
    return lagrange([node.ell for node in nodes], at, -q.sigma * weights * np.exp(q.ell - at))


def x0_whole(p: Point, q: Point, noise: float = 0.0) -> float:
    """The weight of a constant x̂0 from p to q: α_q·(1 - e^{-(1+n)h}), h = ℓ_q - ℓ_p, also where h is infinite."""
    return q.alpha * -math.expm1(-(1 + noise) * (q.ell - p.ell))


def whole(prediction: Prediction, p: Point, q: Point) -> float:
    """The weight of a constant prediction in the step from p to q."""
    if prediction == "x0":
        return x0_whole(p, q)
    if prediction == "eps":
        return q.alpha * (q.rho - p.rho)
    return q.norm * (q.angle - p.angle)


def midpoint(total: float, nodes: Sequence[Point], q: Point) -> list[float]:
    """The prediction at the middle of the step in ℓ, extrapolated from the latest two; `total` is its weight."""
    if len(nodes) == 1:
        return [total]
    back = (q.ell - nodes[0].ell) / (nodes[0].ell - nodes[1].ell) / 2
    return [total * (1 + back), -total * back]
