"""The noise schedule: how much of the picture and how much noise there is at time t.

    x_t = α(t)·x₀ + σ(t)·ε,   λ(t) = log(α²/σ²),   t = 0 is data, t = 1 is noise.

A schedule made for T discrete steps has its step i ∈ {0 … T-1} at t = (i+1)/T, so that α(0) = 1 and σ(0) = 0 exactly.
Between the steps, λ is interpolated linearly in t. Where λ runs to infinity that cannot be: in the first interval,
where λ(0) = +∞, σ/α grows linearly from 0; in the last one of a schedule with zero terminal SNR, where λ(1) = -∞, α/σ
falls linearly to 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import overload

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["MAX_LOG_SNR", "MAX_STEPS", "NoiseSchedule"]

MAX_LOG_SNR = 700.0
MAX_STEPS = 100_000

Numbers = float | np.ndarray | Tensor


class NoiseSchedule:
    """An immutable schedule, given by λ at t = 1/T, 2/T … 1.

    Args:
        log_snr: (T,) strictly falling; finite, but the last may be -inf (zero terminal SNR).
        variance_preserving: α² + σ² = 1 (DDPM and its heirs) or α = 1 (EDM's "variance exploding").
        name: what it is called in listings and in `model.json`.
    """

    def __init__(self, log_snr: np.ndarray, *, variance_preserving: bool = True, name: str = "custom") -> None:
        knots = np.array(log_snr, np.float64)
        if knots.ndim != 1 or len(knots) == 0:
            raise InputError(f"a schedule needs a list of at least one log-SNR, not an array of shape {knots.shape}")
        finite_from_start = bool(np.isfinite(knots[:-1]).all()) and knots[-1] < np.inf and not np.isnan(knots[-1])
        if not finite_from_start or not (np.diff(knots) < 0).all():
            raise InputError(
                f"schedule {name!r}: the log-SNR must be finite and fall strictly from step to step (the last may be "
                "-inf). Two equal neighbours mean that a step adds no noise."
            )
        if (np.abs(knots[np.isfinite(knots)]) > MAX_LOG_SNR).any():
            raise InputError(
                f"schedule {name!r}: a log-SNR beyond ±{MAX_LOG_SNR:g} is more than float64 can tell apart"
            )
        if knots[-1] == -np.inf and (len(knots) == 1 or not variance_preserving):
            raise InputError(f"schedule {name!r}: zero terminal SNR needs α² + σ² = 1 and at least two steps")
        knots.flags.writeable = False
        self.log_snr_knots = knots
        self.variance_preserving = variance_preserving
        self.name = name

    # ---- the well-known ones -------------------------------------------------------------------------------------

    @classmethod
    def from_betas(cls, betas: np.ndarray, name: str = "custom") -> NoiseSchedule:
        """From β_1 … β_T, the variance added at each step (Ho et al. 2020, eq. 2); ᾱ_t = Π (1 - β_s)."""
        betas = np.asarray(betas, np.float64)
        if betas.ndim != 1 or len(betas) == 0 or not ((betas > 0) & (betas < 1)).all():
            raise InputError(f"schedule {name!r}: every β must lie strictly between 0 and 1")
        log_alpha_bar = np.cumsum(np.log1p(-betas))
        return cls(log_alpha_bar - np.log(-np.expm1(log_alpha_bar)), name=name)

    @classmethod
    def from_alphas_bar(cls, alphas_bar: np.ndarray | Sequence[float], name: str = "custom") -> NoiseSchedule:
        """From ᾱ_1 … ᾱ_T = α(t)² (Ho et al. 2020, eq. 4), strictly falling within (0, 1); the last may be 0."""
        a = np.asarray(alphas_bar, np.float64)
        if a.ndim != 1 or len(a) == 0 or not ((a >= 0) & (a < 1)).all():
            raise InputError(f"schedule {name!r}: every ᾱ must lie in [0, 1)")
        with np.errstate(divide="ignore"):
            return cls(np.log(a) - np.log1p(-a), name=name)

    @classmethod
    def linear(cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2) -> NoiseSchedule:
        """β grows linearly (Ho et al. 2020, section 4)."""
        return cls.from_betas(np.linspace(beta_start, beta_end, _positive(steps)), name="linear")

    @classmethod
    def scaled_linear(cls, steps: int = 1000, beta_start: float = 8.5e-4, beta_end: float = 1.2e-2) -> NoiseSchedule:
        """√β grows linearly (latent diffusion: Rombach et al. 2022; the defaults are Stable Diffusion 1.5's)."""
        betas = np.linspace(math.sqrt(beta_start), math.sqrt(beta_end), _positive(steps)) ** 2
        return cls.from_betas(betas, name="scaled-linear")

    @classmethod
    def cosine(cls, steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
        """ᾱ(t) ∝ cos²((t + s)/(1 + s)·π/2), with β ≤ 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
        u = np.arange(_positive(steps) + 1) / steps
        f = np.cos((u + offset) / (1 + offset) * np.pi / 2) ** 2
        return cls.from_betas(np.minimum(1 - f[1:] / f[:-1], max_beta), name="cosine")

    @classmethod
    def sigmoid(
        cls, steps: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999
    ) -> NoiseSchedule:
        """ᾱ(t) falls as a sigmoid from `start` to `end` (Jabri et al. 2022, algorithm 1), with β ≤ 0.999."""
        u = np.arange(_positive(steps) + 1) / steps

        def logistic(x: np.ndarray | float) -> np.ndarray:
            return 1 / (1 + np.exp(-np.asarray(x)))

        top, bottom = logistic(-start / tau), logistic(-end / tau)
        f = (logistic(-(u * (end - start) + start) / tau) - bottom) / (top - bottom)
        return cls.from_betas(np.minimum(1 - f[1:] / f[:-1], max_beta), name="sigmoid")

    @classmethod
    def edm(
        cls, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0, steps: int = 1000
    ) -> NoiseSchedule:
        """α = 1; σ^{1/ρ} grows linearly from σ_min (t = 1/T) to σ_max (t = 1) (Karras et al. 2022, eq. 5)."""
        if not 0 < sigma_min < sigma_max:
            raise InputError(f"EDM's range needs 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
        u = np.linspace(0, 1, _positive(steps)) if steps > 1 else np.ones(1)
        sigma = (sigma_min ** (1 / rho) + u * (sigma_max ** (1 / rho) - sigma_min ** (1 / rho))) ** rho
        return cls(-2 * np.log(sigma), variance_preserving=False, name="edm")

    def zero_terminal_snr(self) -> NoiseSchedule:
        """A new schedule whose last step is pure noise: √ᾱ is shifted and scaled so that √ᾱ_T = 0 and √ᾱ_1 stays.

        Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", algorithm 1.
        """
        if not self.variance_preserving:
            raise InputError("only a variance-preserving schedule can be rescaled to zero terminal SNR")
        if self.terminal_snr == 0:
            return self
        if self.steps == 1:
            raise InputError("a schedule of one step would be nothing but noise")
        root = np.sqrt(_sigmoid(self.log_snr_knots))
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        root[-1] = 0.0  # exactly
        return NoiseSchedule.from_alphas_bar(root**2, name=f"{self.name}, zero terminal SNR")

    # ---- at a time -------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """T, the number of discrete steps it was made for."""
        return len(self.log_snr_knots)

    @property
    def terminal_snr(self) -> float:
        """α(1)²/σ(1)². What is above zero leaks: training never sees pure noise, sampling starts from it."""
        return math.exp(self.log_snr_knots[-1])

    def prior_scale(self, t: float = 1.0) -> float:
        """Standard deviation of the noise to start sampling from at t: 1, or σ(t) where α = 1."""
        return 1.0 if self.variance_preserving else self.sigma(t)

    @overload
    def log_snr(self, t: float) -> float: ...
    @overload
    def log_snr(self, t: np.ndarray) -> np.ndarray: ...
    @overload
    def log_snr(self, t: Tensor) -> Tensor: ...
    def log_snr(self, t: Numbers) -> Numbers:
        """λ(t) = log(α²/σ²); +inf at t = 0. Raises `InputError` for times outside [0, 1]."""
        return _like(t, self, _log_snr)

    @overload
    def alpha(self, t: float) -> float: ...
    @overload
    def alpha(self, t: np.ndarray) -> np.ndarray: ...
    @overload
    def alpha(self, t: Tensor) -> Tensor: ...
    def alpha(self, t: Numbers) -> Numbers:
        """α(t), the share of the picture. Float in, float out; arrays in float64; tensors in their own type."""
        return _like(t, self, _alpha)

    @overload
    def sigma(self, t: float) -> float: ...
    @overload
    def sigma(self, t: np.ndarray) -> np.ndarray: ...
    @overload
    def sigma(self, t: Tensor) -> Tensor: ...
    def sigma(self, t: Numbers) -> Numbers:
        """σ(t), the standard deviation of the noise. Kinds in and out as for `alpha`."""
        return _like(t, self, _sigma)

    @overload
    def time(self, log_snr: float) -> float: ...
    @overload
    def time(self, log_snr: np.ndarray) -> np.ndarray: ...
    @overload
    def time(self, log_snr: Tensor) -> Tensor: ...
    def time(self, log_snr: Numbers) -> Numbers:
        """The t at which λ(t) = `log_snr`: the inverse of `log_snr`. Raises `InputError` below the schedule's range."""
        return _like(log_snr, self, _time)

    @cached_property
    def _knots(self) -> tuple[Tensor, Tensor]:
        """(t, λ) of the steps as tensors; an infinite last λ becomes a finite one, so that no 0·∞ arises beside it."""
        t = torch.arange(1, self.steps + 1, dtype=torch.float64) / self.steps
        knots = self.log_snr_knots.copy()
        if knots[-1] == -np.inf:
            knots[-1] = knots[-2] - 1
        return t, torch.from_numpy(knots)

    def __repr__(self) -> str:
        kind = "" if self.variance_preserving else ", α = 1"
        return f"NoiseSchedule({self.name}, {self.steps} steps, terminal SNR {self.terminal_snr:.3g}{kind})"


# ---- the same formulas for floats, arrays and tensors, in float64 ----------------------------------------------------


def _like(value: Numbers, schedule: NoiseSchedule, formula) -> Numbers:
    """Evaluate in float64 and give back the kind that came: a float (remembered), an array, or a tensor of its type."""
    if isinstance(value, Tensor):
        kept = value.dtype if value.is_floating_point() else torch.get_default_dtype()
        return formula(schedule, value.double()).to(kept)
    if isinstance(value, np.ndarray):
        return formula(schedule, torch.from_numpy(np.asarray(value, np.float64).copy())).numpy()
    return _scalar(schedule, formula, float(value))


@lru_cache(maxsize=65536)
def _scalar(schedule: NoiseSchedule, formula, value: float) -> float:
    return formula(schedule, torch.tensor(value, dtype=torch.float64)).item()


def _log_snr(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    if not bool(((t >= 0) & (t <= 1)).all()):
        raise InputError(f"times lie in [0, 1] (0 is data, 1 is noise), not {_outside(t)}")
    knots_t, knots = (k.to(t.device) for k in schedule._knots)
    steps = schedule.steps
    left = torch.searchsorted(knots_t, t.contiguous(), right=True) - 1  # -1 in the first interval
    i = left.clamp(0, max(steps - 2, 0))
    j = (i + 1).clamp(max=steps - 1)
    share = t * steps - (i + 1)
    between = knots[i] + share * (knots[j] - knots[i])
    first = knots[0] - 2 * torch.log(t * steps)  # σ/α grows linearly from 0
    value = torch.where(left < 0, first, between)
    if schedule.terminal_snr == 0:  # α/σ falls linearly to 0 in the last interval
        value = torch.where(left >= steps - 2, knots[-2] + 2 * torch.log((1 - t) * steps), value)
    return torch.where(t == 0, math.inf, value)


def _time(schedule: NoiseSchedule, log_snr: Tensor) -> Tensor:
    knots = schedule._knots[1].to(log_snr.device)
    steps, lowest = schedule.steps, float(schedule.log_snr_knots[-1])
    if not bool((log_snr >= lowest - 1e-9).all()):
        raise InputError(f"log-SNR {log_snr.min().item():g} lies below the schedule's last, {lowest:g}")
    left = torch.searchsorted(-knots, -log_snr.contiguous(), right=True) - 1
    i = left.clamp(0, max(steps - 2, 0))
    j = (i + 1).clamp(max=steps - 1)
    share = (log_snr - knots[i]) / (knots[j] - knots[i]) if steps > 1 else torch.zeros_like(log_snr)
    between = (i + 1 + share) / steps
    first = torch.exp((knots[0] - log_snr) / 2) / steps
    value = torch.where(left < 0, first, between)
    if schedule.terminal_snr == 0:
        value = torch.where(log_snr < knots[-2], 1 - torch.exp((log_snr - knots[-2]) / 2) / steps, value)
    return value.clamp(0, 1)


def _alpha(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    log_snr = _log_snr(schedule, t)
    return torch.sqrt(torch.sigmoid(log_snr)) if schedule.variance_preserving else torch.ones_like(log_snr)


def _sigma(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    log_snr = _log_snr(schedule, t)
    return torch.sqrt(torch.sigmoid(-log_snr)) if schedule.variance_preserving else torch.exp(-log_snr / 2)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _outside(times: Tensor) -> float:
    return times[~((times >= 0) & (times <= 1))].flatten()[0].item()


def _positive(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= MAX_STEPS:
        raise InputError(f"a schedule has a whole number of steps from 1 to {MAX_STEPS:,}, not {steps!r}")
    return int(steps)
