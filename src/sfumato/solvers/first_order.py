"""Solvers of first order: ancestral sampling, DDIM, Euler, and the multistep sampling of consistency models."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np

from sfumato.diffusion.forward import posterior_coefficients
from sfumato.diffusion.reverse import Variance, reverse_coefficients
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.point import Point, points_at
from sfumato.solvers.table import Row

__all__ = ["ancestral_euler", "check_eta", "ddim", "ddpm", "euler", "first_order", "lcm"]


def ddpm(schedule: NoiseSchedule, times: np.ndarray, *, variance: Variance | Literal["learned"] = "small") -> list[Row]:
    """Ancestral sampling, on any subsequence of the steps (Ho et al. 2020, algorithm 2).

    Each row draws from p(x_s | x_t), the posterior with x̂0 for x_0; `variance` as in `diffusion.reverse`, or "learned":
    then S is that of the small variance, and the model's own scales it (`Table.learned`).
    """
    rows = []
    for t, s in pairwise(times.tolist()):
        a, b, v = reverse_coefficients(schedule, s, t, "small" if variance == "learned" else variance)
        rows.append(Row(t, [float(a)], [float(b)], math.sqrt(v)))
    return rows


def ddim(schedule: NoiseSchedule, times: np.ndarray, *, eta: float = 0.0) -> list[Row]:
    """DDIM (Song et al. 2021, eq. 12): x_s = α_s·x̂0 + √(σ_s² - η²v)·ε̂ + η·√v·z, v the posterior's variance (eq. 16).

    η = 0 is deterministic; η = 1 is ancestral sampling with the small variance.
    """
    check_eta(eta)
    rows = []
    for t, s in pairwise(times.tolist()):
        alpha, sigma, sigma_t = schedule.alpha(s), schedule.sigma(s), schedule.sigma(t)
        fresh = eta * math.sqrt(posterior_coefficients(schedule, s, t)[2]) if eta else 0.0
        kept = math.sqrt(max(sigma**2 - fresh**2, 0.0)) / sigma_t  # ε̂ = (x_t - α_t·x̂0)/σ_t
        rows.append(Row(t, [kept], [alpha - kept * schedule.alpha(t)], fresh))
    return rows


def euler(schedule: NoiseSchedule, times: np.ndarray) -> list[Row]:
    """Euler's method on d(x/α)/dρ = (x/α - x̂0)/ρ, ρ = σ/α (Karras et al. 2022, eq. 3). The same as DDIM, η = 0."""
    return [first_order(p, q) for p, q in pairwise(points_at(schedule, times))]


def first_order(p: Point, q: Point) -> Row:
    """One step of Euler from p to q: x_q = (σ_q/σ_p)·x_p + α_q·(1 - ρ_q/ρ_p)·x̂0, written so that it stays finite where
    ρ does not: from pure noise, to data, and (backwards) to pure noise."""
    kept = q.sigma / p.sigma
    return Row(p.t, [kept], [q.alpha * -math.expm1(p.ell - q.ell) if q.alpha else -kept * p.alpha])


def ancestral_euler(schedule: NoiseSchedule, times: np.ndarray, *, eta: float = 1.0) -> list[Row]:
    """Euler's step below the noise level, then noise up to it (k-diffusion's "euler ancestral", Song et al. 2021).

        ρ_up = η·ρ_s·√(1 - ρ_s²/ρ_t²),  ρ_down² = ρ_s² - ρ_up²
        x_s/α_s = x̂0 + (ρ_down/ρ_t)·(x_t/α_t - x̂0) + ρ_up·z

    The same table as DDIM with the same η.
    """
    check_eta(eta)
    rows = []
    for p, q in pairwise(points_at(schedule, times)):
        ratio = math.exp(p.ell - q.ell)  # ρ_s/ρ_t
        up = eta * math.sqrt(-math.expm1(2 * (p.ell - q.ell)))  # ρ_up/ρ_s
        down = math.sqrt(max(1 - up**2, 0.0))  # ρ_down/ρ_s
        rows.append(Row(p.t, [down * q.sigma / p.sigma], [q.alpha * (1 - down * ratio)], q.sigma * up))
    return rows


def lcm(schedule: NoiseSchedule, times: np.ndarray) -> list[Row]:
    """Multistep consistency sampling (Song et al. 2023, algorithm 1; LCM: Luo et al. 2023, algorithm 3).

    x_s = α_s·x̂0 + σ_s·z: the picture so far, with all its noise new. Meant for consistency models; with any other it
    draws more varied and blurrier pictures.
    """
    return [Row(p.t, [0.0], [q.alpha], q.sigma) for p, q in pairwise(points_at(schedule, times))]


def check_eta(eta: float) -> None:
    """Raise `InputError` unless 0 ≤ η ≤ 1."""
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not 0 <= eta <= 1:
        raise InputError(f"eta lies between 0 (deterministic) and 1 (all the fresh noise), not {eta!r}")
