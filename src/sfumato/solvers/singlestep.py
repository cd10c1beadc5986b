"""Singlestep solvers: heun, dpm-solver and dpmpp with stages within a step, and no memory beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.solvers.first_order import first_order
from sfumato.solvers.point import Point, finite, points_at
from sfumato.solvers.table import Row
from sfumato.solvers.terms import combine

__all__ = ["dpm_solver_singlestep", "dpmpp_2s", "heun", "heun_step"]


def heun(schedule: NoiseSchedule, times: np.ndarray) -> list[Row]:
    """Heun's method (Karras et al. 2022, algorithm 1): an Euler step, then the mean of the slopes at both ends.

    A step to t = 0 is Euler's alone: there is no slope at σ = 0.
    """
    return [row for p, q in pairwise(points_at(schedule, times)) for row in heun_step(p, q)]


def heun_step(p: Point, q: Point) -> list[Row]:
    """One step of Heun from p to q, in ρ = σ/α: two rows, or one to σ = 0.

    From zero SNR, where ρ is infinite, it averages the slope of x/σ over α/σ instead, which is x̂0.
    """
    predictor = first_order(p, q)
    if q.sigma == 0 or q.alpha == 0:
        return [predictor]
    if p.alpha == 0:
        half = q.alpha / 2
        return [predictor, Row(q.t, [0.0, q.sigma / p.sigma], [half, half])]
    half = q.alpha * (q.rho - p.rho) / 2
    return [predictor, combine(q.t, "eps", q.alpha / p.alpha, 1, [(0, q, half), (1, p, half)])]


def dpm_solver_singlestep(schedule: NoiseSchedule, times: np.ndarray, *, order: int) -> list[Row]:
    """DPM-Solver-2 and -3 (Lu et al. 2022, algorithms 1 and 2): two or three calls a step, even in ℓ.

    A step from pure noise or to data, which is infinite in ℓ, is of first order and one call.
    """
    points = points_at(schedule, times)
    stages = [_inner(schedule, points, share) for share in ((1 / 2,) if order == 2 else (1 / 3, 2 / 3))]
    rows = []
    for p, q, *inner in zip(points[:-1], points[1:], *stages, strict=True):
        if not finite(p, q):
            rows.append(first_order(p, q))
        elif order == 2:
            rows += _midpoint_step(p, q, *inner)
        else:
            rows += _third_order_step(p, q, *inner)
    return rows


def _midpoint_step(p: Point, q: Point, m: Point) -> list[Row]:
    total = q.alpha * (q.rho - p.rho)
    return [first_order(p, m), combine(m.t, "eps", q.alpha / p.alpha, 1, [(0, m, total)])]


def _third_order_step(p: Point, q: Point, one: Point, two: Point) -> list[Row]:
    """The stages at 1/3 and 2/3 of the step h; with E(c) = e^{ch} - 1:

    u_2 = (α_2/α_t)·x - σ_2·E(2/3)·ε_t - 2σ_2·(E(2/3)/(2h/3) - 1)·(ε_1 - ε_t)
    x_s = (α_s/α_t)·x - σ_s·E(1)·ε_t - (3/2)·σ_s·(E(1)/h - 1)·(ε_2 - ε_t)
    """
    h = q.ell - p.ell
    slope_two = -2 * two.sigma * (math.expm1(2 * h / 3) / (2 * h / 3) - 1)
    slope_end = -3 / 2 * q.sigma * (math.expm1(h) / h - 1)
    base_two, base_end = -two.sigma * math.expm1(2 * h / 3), -q.sigma * math.expm1(h)
    return [
        first_order(p, one),
        combine(one.t, "eps", two.alpha / p.alpha, 1, [(0, one, slope_two), (1, p, base_two - slope_two)]),
        combine(two.t, "eps", q.alpha / p.alpha, 2, [(0, two, slope_end), (2, p, base_end - slope_end)]),
    ]


def dpmpp_2s(schedule: NoiseSchedule, times: np.ndarray) -> list[Row]:
    """DPM-Solver++(2S) (Lu et al. 2022b, algorithm 1), the stage in the middle of the step in ℓ: two calls a step.

    A step from pure noise or to data, which is infinite in ℓ, is of first order and one call.
    """
    points = points_at(schedule, times)
    rows = []
    for p, q, m in zip(points[:-1], points[1:], _inner(schedule, points, 1 / 2), strict=True):
        single = first_order(p, q)
        if finite(p, q):
            rows += [first_order(p, m), Row(m.t, [0.0, *single.x], list(single.d))]
        else:
            rows.append(single)
    return rows


def _inner(schedule: NoiseSchedule, points: Sequence[Point], share: float) -> list[Point]:
    """For every step the point at a share of it in ℓ; for an infinite one its start, which nobody asks for."""
    ells = [p.ell + share * (q.ell - p.ell) if finite(p, q) else p.ell for p, q in pairwise(points)]
    return points_at(schedule, schedule.time(2 * np.array(ells)))
