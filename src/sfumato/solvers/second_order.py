"""Solvers of second order: Heun, which calls the network twice a step, and DPM-Solver++(2M), which remembers."""

from __future__ import annotations

import math

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.first_order import euler
from sfumato.solvers.table import Row

__all__ = ["dpmpp_2m", "heun", "heun_times"]


def heun(schedule: NoiseSchedule, times: np.ndarray) -> list[Row]:
    """Heun's method (Karras et al. 2022, algorithm 1): an Euler step, then the mean of the slopes at both ends.

    Two rows a step, the second of which looks back one point. A step to t = 0 is Euler's alone: there is no slope at
    σ = 0. A step from zero SNR, where σ̃ = σ/α is infinite, averages the slope of x/σ over α/σ, which is x̂0.
    """
    rows = []
    for predictor, t, s in zip(euler(schedule, times), times[:-1], times[1:], strict=True):
        rows.append(predictor)
        alpha_t, alpha_s = schedule.alpha(float(t)), schedule.alpha(float(s))
        sigma_t, sigma_s = schedule.sigma(float(t)), schedule.sigma(float(s))
        if sigma_s == 0:
            continue
        if alpha_t == 0:
            half = alpha_s / 2
            rows.append(Row([0.0, sigma_s / sigma_t], [half, half]))
            continue
        before, after = sigma_t / alpha_t, sigma_s / alpha_s
        half = (after - before) / 2
        points = [half / after, alpha_s / alpha_t * (1 + half / before)]
        rows.append(Row(points, [-alpha_s * half / after, -alpha_s * half / before]))
    return rows


def heun_times(times: np.ndarray) -> np.ndarray:
    """The times of Heun's network calls, and of its result: every time twice but the first, and t = 0."""
    stages = np.where(times[1:] > 0, 2, 1)
    return np.concatenate([times[:1], np.repeat(times[1:], stages)])


def dpmpp_2m(schedule: NoiseSchedule, times: np.ndarray, *, order: int = 2) -> list[Row]:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), in h = step of ½λ = log(α/σ).

        x_s = (σ_s/σ_t)·x_t + α_s·(1 - e^{-h})·((1 + 1/2r)·x̂0_i - 1/2r·x̂0_{i-1}),   r = h_{i-1}/h_i

    First order where there is no past (the first step, and the one after a step from zero SNR, which was infinite),
    where the step itself is infinite (to t = 0), or with `order` = 1, which is DDIM.
    """
    if order not in (1, 2):
        raise InputError(f"dpmpp-2m has order 2, or 1 on request, not {order!r}")
    half_log_snr = [schedule.log_snr(float(t)) / 2 for t in times]
    rows = []
    for i, (single, s) in enumerate(zip(euler(schedule, times), times[1:], strict=True)):
        h = half_log_snr[i + 1] - half_log_snr[i]
        before = half_log_snr[i] - half_log_snr[i - 1] if i > 0 else math.inf
        back = 0.0 if order == 1 or i == 0 or math.isinf(h) else h / before / 2
        gain = schedule.alpha(float(s)) * -math.expm1(-h)
        rows.append(Row(single.x, [gain * (1 + back), -gain * back] if back else [gain]))
    return rows
