"""Stochastic multistep solvers: sde-dpmpp and er-sde. Each step keeps part of the noise and draws the rest anew."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.solvers.integrals import gauss, lagrange, midpoint, x0_exponential, x0_whole
from sfumato.solvers.multistep import looked_at
from sfumato.solvers.options import check_choice, check_number
from sfumato.solvers.point import points_at
from sfumato.solvers.table import Row

__all__ = ["er_sde", "sde_dpmpp"]

LIMIT = 700.0  # e^700 is about the largest float64; a noise level that needs more is as good as infinite


def sde_dpmpp(
    schedule: NoiseSchedule, times: np.ndarray, *, order: int, eta: float = 1.0, lower_order_final: bool = True
) -> list[Row]:
    """SDE-DPM-Solver++ (Lu et al. 2022b, eq. 14 and section 5.3), with n = η² of the noise of the forward process:

        x_s = (σ_s/σ_t)·e^{-n·h}·x_t + (1 + n)·α_s·∫ x̂0·e^{-(1+n)(ℓ_s - ℓ)} dℓ + σ_s·√(1 - e^{-2n·h})·z

    Order 2 takes x̂0 at the middle of the step; order 3 integrates the parabola exactly. η = 0 is dpmpp-2m or 3m.
    """
    noise = check_number("sde-dpmpp", "eta", eta, 0.0, 1.0) ** 2
    points = points_at(schedule, times)
    rows = []
    for i, (p, q) in enumerate(pairwise(points)):
        nodes = looked_at(points, i, order, lower_order_final)
        total = x0_whole(p, q, noise)
        weights = midpoint(total, nodes, q) if order == 2 else [total]
        if order == 3 and len(nodes) > 1:
            weights = x0_exponential(nodes, p, q, noise)
        fade = math.exp(-noise * (q.ell - p.ell)) if noise else 1.0
        fresh = q.sigma * math.sqrt(-math.expm1(-2 * noise * (q.ell - p.ell))) if noise else 0.0
        rows.append(Row(p.t, [q.sigma / p.sigma * fade], weights, fresh))
    return rows


def er_sde(schedule: NoiseSchedule, times: np.ndarray, *, order: int, lower_order_final: bool = False) -> list[Row]:
    """ER-SDE (Cui et al. 2023, algorithms 1-3), with its noise scale g(ρ) = ρ·(e^{ρ^0.3} + 10), ρ = σ/α:

        x_s/α_s = r·x_t/α_t + g_s·∫ x̂0 d(1/g) + √(ρ_s² - r²·ρ_t²)·z,   r = g_s/g_t

    x̂0 is a polynomial in ρ through the latest calls, integrated exactly. For order 3 the paper takes the slope of the
    latest difference instead of the parabola's.
    """
    check_choice("er-sde", "order", order, (1, 2, 3))
    points = points_at(schedule, times)
    rows = []
    for i, (p, q) in enumerate(pairwise(points)):
        nodes = looked_at(points, i, order, lower_order_final)
        # α_t·g_t = σ_t·(e^{ρ^0.3} + 10) is finite wherever ρ is; r is 0 from pure noise
        kept = q.sigma / p.sigma * _bracket(q.rho) / _bracket(p.rho) if p.alpha else 0.0
        weights = [q.alpha - kept * p.alpha]
        if len(nodes) > 1:
            at, rule = gauss(p.ell, q.ell)
            rho = np.exp(-at)
            root = np.minimum(rho**0.3, LIMIT)
            bracket = np.exp(root) + 10
            fall = 1 + 0.3 * root * np.exp(root) / bracket  # -ρ·d(1/g)/dρ·g
            measure = q.sigma * _bracket(q.rho) / (rho * bracket) * fall
            weights = lagrange([node.rho for node in nodes], rho, rule * measure)
        fresh = math.sqrt(max(q.sigma**2 - (kept * p.sigma) ** 2, 0.0))
        rows.append(Row(p.t, [kept], weights, fresh))
    return rows


def _bracket(rho: float) -> float:
    return math.exp(min(rho**0.3, LIMIT)) + 10
