"""Where a solver's steps lie: N+1 strictly falling times, the last of which is 0, the data.

Spacings whose first time is 1 (all but "leading") begin where training ended, at the schedule's full noise. All of
them visit only times at or above 1/T, the least noise that was trained on, before the last step to 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError, nearest

__all__ = ["SPACINGS", "given_times", "spaced_times"]


def _leading(schedule: NoiseSchedule, steps: int) -> np.ndarray:
    """Every (T // steps)-th step, counted from the first: starts below t = 1 unless steps = T (Song et al. 2021)."""
    index = np.arange(steps)[::-1] * (schedule.steps // steps)
    return (index + 1) / schedule.steps


def _trailing(schedule: NoiseSchedule, steps: int) -> np.ndarray:
    """Uniform in t, counted from the last step (Lin et al. 2024, table 2)."""
    return 1 - np.arange(steps) / steps


def _linspace(schedule: NoiseSchedule, steps: int) -> np.ndarray:
    """Uniform from the last trained step to the first, both visited."""
    return np.linspace(1.0, 1 / schedule.steps, steps)


def _quadratic(schedule: NoiseSchedule, steps: int) -> np.ndarray:
    """Uniform in √t: denser near the data (Song et al. 2021, section D.2)."""
    return np.linspace(1.0, schedule.steps**-0.5, steps) ** 2


def _log_snr(schedule: NoiseSchedule, steps: int) -> np.ndarray:
    """Uniform in λ (Lu et al. 2022, section 3)."""
    low, high = _log_snr_range(schedule)
    return _times_of_log_snr(schedule, np.linspace(low, high, steps))


def _karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> np.ndarray:
    """Uniform in (σ/α)^{1/ρ}, ρ = 7 (Karras et al. 2022, eq. 5)."""
    low, high = _log_snr_range(schedule)
    root = np.linspace(np.exp(-low / 2 / rho), np.exp(-high / 2 / rho), steps)
    return _times_of_log_snr(schedule, -2 * rho * np.log(root))


SPACINGS: dict[str, Callable[[NoiseSchedule, int], np.ndarray]] = {
    "trailing": _trailing,
    "leading": _leading,
    "linspace": _linspace,
    "quadratic": _quadratic,
    "log-snr": _log_snr,
    "karras": _karras,
}


def spaced_times(schedule: NoiseSchedule, steps: int, spacing: str) -> np.ndarray:
    """The times of `steps` steps: (steps + 1,) float64, strictly falling, ending at 0.

    Raises:
        InputError: for an unknown spacing, or unless 1 ≤ steps ≤ T.
    """
    if spacing not in SPACINGS:
        raise InputError(f"no spacing {spacing!r}. {nearest(spacing, SPACINGS)}")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= schedule.steps:
        raise InputError(
            f"steps must be a whole number from 1 to {schedule.steps} (the schedule's steps), not {steps!r}"
        )
    return given_times([*SPACINGS[spacing](schedule, int(steps)), 0.0])


def given_times(times: Sequence[float] | np.ndarray) -> np.ndarray:
    """Check times that a person chose: at least two, strictly falling, within [0, 1]. Returns them as float64."""
    values = np.asarray(times, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise InputError("times must be a list of at least two numbers: where to start and where to end")
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"times lie in [0, 1] (0 is data, 1 is noise), not {values[(values < 0) | (values > 1)][:1]}")
    rises = np.flatnonzero(np.diff(values) >= 0)
    if len(rises):
        i = int(rises[0])
        raise InputError(f"times must fall strictly, but {values[i]:g} is followed by {values[i + 1]:g}")
    return values


def _log_snr_range(schedule: NoiseSchedule) -> tuple[float, float]:
    """λ at t = 1 (the last finite one, where λ(1) = -∞) and at t = 1/T."""
    knots = schedule.log_snr_knots
    return float(knots[-1] if np.isfinite(knots[-1]) else knots[-2]), float(knots[0])


def _times_of_log_snr(schedule: NoiseSchedule, log_snr: np.ndarray) -> np.ndarray:
    times = schedule.time(log_snr)
    times[0] = 1.0  # rounding, and a terminal log-SNR of -∞
    return times
