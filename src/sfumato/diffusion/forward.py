"""The forward process q: data → noise. Everything here is known exactly; nothing is learned.

q(x_t | x_0) = N(α_t·x_0, σ_t²)                                          Ho et al. 2020, eq. 4
q(x_t | x_s) = N(α_ts·x_s, σ_ts²),  α_ts = α_t/α_s,  σ_ts² = σ_t² - α_ts²·σ_s²     s < t
q(x_s | x_t, x_0): Bayes' rule on the two                                 Ho et al. 2020, eq. 6 and 7
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError

__all__ = ["broadcast", "network_input", "noisy", "posterior", "posterior_coefficients", "transition"]

Time = float | Tensor


def broadcast(value: float | Tensor, like: Tensor) -> float | Tensor:
    """A number, or one number a picture (N,), shaped to multiply `like` (N, …), in its type and place."""
    if not isinstance(value, Tensor):
        return value
    return value.to(like).reshape(-1, *[1] * (like.ndim - 1)) if value.ndim else value.to(like)


def noisy(schedule: NoiseSchedule, x0: Tensor, t: Time, noise: Tensor) -> Tensor:
    """x_t = α_t·x_0 + σ_t·ε: a draw of q(x_t | x_0) for standard normal `noise`. `t`: one time, or one a picture."""
    return broadcast(schedule.alpha(t), x0) * x0 + broadcast(schedule.sigma(t), x0) * noise


def network_input(schedule: NoiseSchedule, xt: Tensor, t: Time, sigma_data: float = 1.0) -> Tensor:
    """x_t/√(σ² + α²·σ_d²): of variance 1 for data of standard deviation σ_d. With σ_d = 1 the same x_t where variance
    is preserved."""
    if schedule.variance_preserving and sigma_data == 1:
        return xt
    alpha, sigma = broadcast(schedule.alpha(t), xt), broadcast(schedule.sigma(t), xt)
    return xt / ((alpha * sigma_data) ** 2 + sigma**2) ** 0.5


def transition(schedule: NoiseSchedule, s: Time, t: Time) -> tuple[Time, Time]:
    """(α_ts, σ_ts) of q(x_t | x_s) for s ≤ t. σ_ts² is σ_t²·(1 - SNR_t/SNR_s), which loses no digits."""
    _ordered(s, t)
    alpha = schedule.alpha(t) / schedule.alpha(s)
    ratio = schedule.log_snr(t) - schedule.log_snr(s)
    if isinstance(ratio, Tensor):
        return alpha, schedule.sigma(t) * torch.sqrt(-torch.expm1(ratio))
    return alpha, schedule.sigma(t) * math.sqrt(-math.expm1(ratio))


def posterior_coefficients(schedule: NoiseSchedule, s: Time, t: Time) -> tuple[Time, Time, Time]:
    """(a, b, v) of q(x_s | x_t, x_0) = N(a·x_t + b·x_0, v), for s < t.

    a = α_ts·σ_s²/σ_t², b = α_s·σ_ts²/σ_t², v = σ_ts²·σ_s²/σ_t².
    """
    alpha_ts, sigma_ts = transition(schedule, s, t)
    shrink = (schedule.sigma(s) / schedule.sigma(t)) ** 2
    gain = (sigma_ts / schedule.sigma(t)) ** 2
    return alpha_ts * shrink, schedule.alpha(s) * gain, sigma_ts**2 * shrink


def posterior(schedule: NoiseSchedule, x0: Tensor, xt: Tensor, t: Time, s: Time) -> tuple[Tensor, float | Tensor]:
    """Mean (shape of `xt`) and variance (a number, or one a picture) of q(x_s | x_t, x_0), s < t."""
    a, b, variance = posterior_coefficients(schedule, s, t)
    return broadcast(a, xt) * xt + broadcast(b, xt) * x0, broadcast(variance, xt)


def _ordered(s: Time, t: Time) -> None:
    earlier = s < t
    if not bool(earlier.all() if isinstance(earlier, Tensor) else earlier):
        raise InputError(f"the earlier time s must lie below t (0 is data, 1 is noise); got s = {s}, t = {t}")
