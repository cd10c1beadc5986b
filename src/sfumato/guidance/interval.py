"""A guidance interval (Kynkäänniemi et al. 2024): guidance harms at high noise and is idle at low noise."""

from __future__ import annotations

from sfumato.errors import InputError
from sfumato.solvers.loop import Denoiser

__all__ = ["check_interval", "within"]


def check_interval(low: float, high: float) -> tuple[float, float]:
    """Return both; raise `InputError` unless 0 ≤ low ≤ high ≤ 1."""
    if not 0 <= low <= high <= 1:
        raise InputError(
            f"a guidance interval is two times from 0 (data) to 1 (noise), the lower one first, not {low} and {high}"
        )
    return low, high


def within(guided: Denoiser, plain: Denoiser, low: float, high: float) -> Denoiser:
    """`guided` for low ≤ t ≤ high, else `plain`: outside of the interval the extra network calls are saved as well.

    Kynkäänniemi et al. 2024, "Applying guidance in a limited interval improves sample and distribution quality in
    diffusion models". The paper gives the interval in EDM's σ, here σ(t)/α(t) of the schedule, and leaves its lower end
    out; this one is of times, with both ends. Raises `InputError` unless 0 ≤ low ≤ high ≤ 1.
    """
    check_interval(low, high)
    return lambda x, t: guided(x, t) if low <= t <= high else plain(x, t)
