"""Solvers that go back on the way: edm's churn before every step, and restart, which goes back far and seldom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.options import check_number
from sfumato.solvers.point import Point, points_at
from sfumato.solvers.singlestep import heun_step
from sfumato.solvers.table import Row

__all__ = ["edm", "restart"]


def edm(
    schedule: NoiseSchedule,
    times: np.ndarray,
    *,
    s_churn: float = 40.0,
    s_min: float = 0.05,
    s_max: float = 50.0,
    s_noise: float = 1.003,
) -> list[Row]:
    """EDM's stochastic sampler (Karras et al. 2022, algorithm 2): before a step of Heun, raise the noise by a share γ.

        γ = min(s_churn/N, √2 - 1) where s_min ≤ ρ ≤ s_max;   x/α gains √(ρ̂² - ρ²)·s_noise·z, ρ̂ = (1 + γ)·ρ

    The defaults are the paper's for ImageNet-64, but for s_churn = 80 in its 40 steps and another range: see its
    table 5. The first step starts from noise anyway and is not churned; no level rises above the schedule's last.
    s_churn = 0 is heun.
    """
    check_number("edm", "s_churn", s_churn, 0.0, math.inf)
    check_number("edm", "s_noise", s_noise, 0.0, 2.0)
    gamma = min(s_churn / (len(times) - 1), math.sqrt(2) - 1)
    points = points_at(schedule, times)
    rows: list[Row] = []
    for i, (p, q) in enumerate(pairwise(points)):
        begin = p
        if i > 0 and gamma and s_min <= p.rho <= s_max:
            begin = _raised(schedule, p, min((1 + gamma) * p.rho, points[0].rho))
            rows[-1] = _noised(rows[-1], p, begin, s_noise)
        rows += heun_step(begin, q)
    return rows


def restart(
    schedule: NoiseSchedule,
    times: np.ndarray,
    *,
    low: float = 0.1,
    high: float = 0.3,
    repeats: int = 2,
    inner: int = 3,
) -> list[Row]:
    """Restart sampling (Xu et al. 2023, algorithm 1): Heun down to a low noise, then `repeats` times up again by the
    forward process and down anew.

    Args:
        schedule, times: as for every solver.
        low, high: the noise levels ρ = σ/α between which it is restarted; the low one moves to the nearest of `times`.
        repeats: how often.
        inner: Heun steps of each way down, spaced evenly in ρ^{1/7} (Karras et al. 2022, eq. 5).
    """
    check_number("restart", "low", low, 0.0, math.inf)
    check_number("restart", "high", high, low, math.inf)
    for option, value in (("repeats", repeats), ("inner", inner)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
            raise InputError(f"restart: {option} is a whole number from 1 to 1000, not {value!r}")
    points = points_at(schedule, times)
    inside = [p for p in points[1:] if p.sigma > 0]
    target = min(inside, key=lambda p: abs(math.log(p.rho / max(low, 1e-300))), default=None)
    rows: list[Row] = []
    for p, q in pairwise(points):
        rows += heun_step(p, q)
        if q is not target or q.rho >= min(high, points[0].rho):
            continue
        top = _raised(schedule, q, min(high, points[0].rho))
        way = np.linspace(top.rho ** (1 / 7), q.rho ** (1 / 7), inner + 1) ** 7
        down = [top, *(_raised(schedule, q, rho) for rho in way[1:-1]), q]
        for _ in range(repeats):
            rows[-1] = _noised(rows[-1], q, top)
            rows += _way(down)
    return rows


def _way(points: Sequence[Point]) -> list[Row]:
    return [row for p, q in pairwise(points) for row in heun_step(p, q)]


def _raised(schedule: NoiseSchedule, p: Point, rho: float) -> Point:
    """The point with noise level ρ, no lower than p's and within the schedule."""
    return points_at(schedule, [max(schedule.time(-2 * math.log(rho)), p.t)])[0]


def _noised(row: Row, p: Point, q: Point, s_noise: float = 1.0) -> Row:
    """The row that lands at q, noisier than p where it landed: after it, a draw of q(x_q | x_p)."""
    alpha = q.alpha / p.alpha
    fresh = q.sigma * math.sqrt(-math.expm1(2 * (q.ell - p.ell))) * s_noise
    return row._replace(x=[alpha * w for w in row.x], d=[alpha * w for w in row.d], s=math.hypot(alpha * row.s, fresh))
