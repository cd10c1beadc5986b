"""Solvers of first order: ancestral sampling, DDIM, Euler."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from sfumato.diffusion.forward import posterior_coefficients
from sfumato.diffusion.reverse import Variance, reverse_coefficients
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.table import Row

__all__ = ["ddim", "ddpm", "euler"]


def ddpm(schedule: NoiseSchedule, times: np.ndarray, *, variance: Variance = "small") -> list[Row]:
    """Ancestral sampling, on any subsequence of the steps (Ho et al. 2020, algorithm 2).

    Each row draws from p(x_s | x_t), the posterior with x̂0 for x_0; `variance` as in `diffusion.reverse`.
    """
    rows = []
    for t, s in _intervals(times):
        a, b, v = reverse_coefficients(schedule, s, t, variance)
        rows.append(Row([float(a)], [float(b)], math.sqrt(v)))
    return rows


def ddim(schedule: NoiseSchedule, times: np.ndarray, *, eta: float = 0.0) -> list[Row]:
    """DDIM (Song et al. 2021, eq. 12): x_s = α_s·x̂0 + √(σ_s² - η²v)·ε̂ + η·√v·z, v the posterior's variance (eq. 16).

    η = 0 is deterministic; η = 1 is ancestral sampling with the small variance.
    """
    if not isinstance(eta, int | float) or not 0 <= eta <= 1:
        raise InputError(f"eta lies between 0 (deterministic) and 1 (ancestral), not {eta!r}")
    rows = []
    for t, s in _intervals(times):
        alpha, sigma, sigma_t = schedule.alpha(s), schedule.sigma(s), schedule.sigma(t)
        _, _, variance = posterior_coefficients(schedule, s, t)
        fresh = eta * math.sqrt(variance)
        kept = math.sqrt(max(sigma**2 - fresh**2, 0.0)) / sigma_t  # ε̂ = (x_t - α_t·x̂0)/σ_t
        rows.append(Row([kept], [alpha - kept * schedule.alpha(t)], fresh))
    return rows


def euler(schedule: NoiseSchedule, times: np.ndarray) -> list[Row]:
    """Euler's method on d(x/α)/dσ̃ = (x/α - x̂0)/σ̃, σ̃ = σ/α (Karras et al. 2022, eq. 3).

    The same table as DDIM with η = 0. It is written with σ_s/σ_t = (α_s/α_t)·(σ̃_s/σ̃_t), which stays finite where
    σ̃ does not.
    """
    rows = []
    for t, s in _intervals(times):
        ratio = math.exp((schedule.log_snr(t) - schedule.log_snr(s)) / 2)  # σ̃_s/σ̃_t
        rows.append(Row([schedule.sigma(s) / schedule.sigma(t)], [schedule.alpha(s) * (1 - ratio)]))
    return rows


def _intervals(times: np.ndarray) -> list[tuple[float, float]]:
    return list(pairwise(times.tolist()))
