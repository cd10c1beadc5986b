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

__all__ = ["edm", "noised", "restart"]

MOST = 1e6  # of noise levels and churn


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

    s_min = 0.05, s_max = 50 and s_noise = 1.003 are the paper's for ImageNet-64, and s_churn = 40 its value there
    (table 5). The first step starts from noise anyway and is not churned; no level rises above the first one.
    s_churn = 0 is heun.
    """
    check_number("edm", "s_churn", s_churn, 0.0, MOST)
    check_number("edm", "s_min", s_min, 0.0, MOST)
    check_number("edm", "s_max", s_max, s_min, MOST)
    check_number("edm", "s_noise", s_noise, 0.0, 2.0)
    gamma = min(s_churn / (len(times) - 1), math.sqrt(2) - 1)
    points = points_at(schedule, times)
    rows: list[Row] = []
    for i, (p, q) in enumerate(pairwise(points)):
        begin = p
        if i > 0 and gamma and s_min <= p.rho <= s_max:
            begin = _raised(schedule, p, min((1 + gamma) * p.rho, points[0].rho))
            rows[-1] = noised(rows[-1], p, begin, s_noise)
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
        schedule, times: as for every solver. A time at `low` is put in between them, one more step of Heun.
        low, high: the noise levels ρ = σ/α between which it is restarted.
        repeats: how often.
        inner: Heun steps of each way down, spaced evenly in ρ^{1/7} (Karras et al. 2022, eq. 5).

    Raises:
        InputError: for options out of range, or when the times begin or end between the two levels.
    """
    check_number("restart", "low", low, 1e-6, MOST)
    check_number("restart", "high", high, low, MOST)
    for option, value in (("repeats", repeats), ("inner", inner)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
            raise InputError(f"restart: {option} is a whole number from 1 to 1000, not {value!r}")
    points = points_at(schedule, times)
    if not points[-1].rho < low < high <= points[0].rho:
        raise InputError(
            f"restart: the times go from noise {points[0].rho:.3g} down to {points[-1].rho:.3g}, and have to "
            f"pass high = {high:g} and low = {low:g}, which differ"
        )
    top, bottom = (points_at(schedule, [schedule.time(-2 * math.log(rho))])[0] for rho in (high, low))
    way = np.linspace(high ** (1 / 7), low ** (1 / 7), inner + 1)[1:-1] ** 7
    down = [top, *points_at(schedule, schedule.time(-2 * np.log(way))), bottom]
    before = [p for p in points if p.rho > low]
    rows = _way([*before, bottom])
    for _ in range(repeats):
        rows[-1] = noised(rows[-1], bottom, top)
        rows += _way(down)
    return rows + _way([bottom, *(p for p in points if p.rho < low)])


def _way(points: Sequence[Point]) -> list[Row]:
    return [row for p, q in pairwise(points) for row in heun_step(p, q)]


def _raised(schedule: NoiseSchedule, p: Point, rho: float) -> Point:
    """The point with noise level ρ, no lower than p's and within the schedule."""
    return points_at(schedule, [max(schedule.time(-2 * math.log(rho)), p.t)])[0]


def noised(row: Row, p: Point, q: Point, s_noise: float = 1.0) -> Row:
    """The row that lands at q, noisier than p where it landed: after it, a draw of q(x_q | x_p)."""
    alpha = q.alpha / p.alpha
    fresh = q.sigma * math.sqrt(-math.expm1(2 * (q.ell - p.ell))) * s_noise
    return row._replace(x=[alpha * w for w in row.x], d=[alpha * w for w in row.d], s=math.hypot(alpha * row.s, fresh))
