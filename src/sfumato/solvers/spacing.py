"""Where a solver's steps lie: N+1 strictly falling times, the last of which is 0, the data, unless one says otherwise.

Spacings whose first time is 1 (all but "leading") begin where training ended, at the schedule's full noise. All of
them visit only times at or above 1/T, the least noise that was trained on, before the last step to 0. Each can begin
at a lower time instead, and then spreads all of its steps from there on by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError, nearest

__all__ = ["ENDS", "SPACINGS", "given_times", "resampled", "spaced_times", "times_of_indices", "times_of_sigmas"]


def _leading(schedule: NoiseSchedule, steps: int, start: float) -> np.ndarray:
    """Every (T // steps)-th step, counted from the first: starts below t = 1 unless steps = T (Song et al. 2021)."""
    index = np.arange(steps)[::-1] * (_trained(schedule, start) // steps)
    return (index + 1) / schedule.steps


def _trailing(schedule: NoiseSchedule, steps: int, start: float) -> np.ndarray:
    """Uniform in t, counted from the last step (Lin et al. 2024, table 2)."""
    return start * (1 - np.arange(steps) / steps)


def _linspace(schedule: NoiseSchedule, steps: int, start: float) -> np.ndarray:
    """Uniform from the last trained step to the first, both visited."""
    return np.linspace(start, 1 / schedule.steps, steps)


def _quadratic(schedule: NoiseSchedule, steps: int, start: float) -> np.ndarray:
    """Uniform in √t: denser near the data (Song et al. 2021, section D.2)."""
    times = np.linspace(start**0.5, schedule.steps**-0.5, steps) ** 2
    times[0] = start
    return times


def _log_snr(schedule: NoiseSchedule, steps: int, start: float) -> np.ndarray:
    """Uniform in λ (Lu et al. 2022, section 3)."""
    low, high = _log_snr_range(schedule, start)
    return _times_of_log_snr(schedule, np.linspace(low, high, steps), start)


def _visible(schedule: NoiseSchedule, steps: int, start: float) -> np.ndarray:
    """From t = 1, then uniform in λ over the range in which pictures take shape; the last step goes from there to 0.

    Other spacings visit 1/T, where at few steps a call is lost on noise that nobody sees; and uniform in λ they spend
    a third of their calls where there is nothing but noise. Up to 10 steps the range is -5.5 … 4, found by a few
    trials on the shipped model; Sabour et al.'s list for Stable Diffusion 1.5 spans -5.4 … 3.8. With more steps
    both ends move out by 2·log(steps/10), so that the error goes on falling.
    """
    widen = 2 * math.log(max(steps, 10) / 10)
    lowest, highest = _log_snr_range(schedule, start)
    low, high = max(VISIBLE[0] - widen, lowest), min(VISIBLE[1] + widen, highest)
    inside = steps if low == lowest else steps - 1
    between = np.linspace(low, high, inside) if inside > 1 else np.full(inside, (low + high) / 2)
    times = schedule.time(between) if low < high else _log_snr(schedule, inside + 1, start)[1:]
    return np.r_[start, times[1:] if inside == steps else times]


def _karras(schedule: NoiseSchedule, steps: int, start: float, rho: float = 7.0) -> np.ndarray:
    """Uniform in (σ/α)^{1/ρ}, ρ = 7 (Karras et al. 2022, eq. 5)."""
    low, high = _log_snr_range(schedule, start)
    root = np.linspace(np.exp(-low / 2 / rho), np.exp(-high / 2 / rho), steps)
    return _times_of_log_snr(schedule, -2 * rho * np.log(root), start)


VISIBLE = (-5.5, 4.0)
"""λ between which `visible` spaces up to 10 steps."""

SPACINGS: dict[str, Callable[[NoiseSchedule, int, float], np.ndarray]] = {
    "trailing": _trailing,
    "leading": _leading,
    "linspace": _linspace,
    "quadratic": _quadratic,
    "log-snr": _log_snr,
    "karras": _karras,
    "visible": _visible,
}


ENDS = ("data", "sigma-min")


def spaced_times(
    schedule: NoiseSchedule, steps: int, spacing: str, end: str = "data", start: float = 1.0
) -> np.ndarray:
    """The times of `steps` steps: (steps + 1,) float64, strictly falling.

    They end at 0, or with end="sigma-min" at 1/T, the least noise that was trained on. They begin at `start` ("leading"
    below it); however low that is, there are as many steps.

    Raises:
        InputError: for an unknown spacing or end, a start outside (0, 1], or unless 1 ≤ steps ≤ T·start (less than that
            to end at 1/T).
    """
    if spacing not in SPACINGS:
        raise InputError(f"no spacing {spacing!r}. {nearest(spacing, SPACINGS)}")
    if end not in ENDS:
        raise InputError(f"no end {end!r}. {nearest(end, ENDS)}")
    if not 0 < start <= 1:
        raise InputError(f"a start is a time above 0 (data) and up to 1 (noise), not {start!r}")
    most = _trained(schedule, start) - (end != "data")
    if most < 1:
        least = 1 / schedule.steps
        raise InputError(f"a start at {start:g} leaves no step: the least noise that was trained on is at {least:g}")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= most:
        limit = "by the schedule's steps" if start == 1 else f"the schedule's steps up to {start:g}"
        raise InputError(f"steps must be a whole number from 1 to {most} ({limit}), not {steps!r}")
    if end == "data":
        return given_times([*SPACINGS[spacing](schedule, int(steps), start), 0.0])
    least = 1 / schedule.steps
    times = SPACINGS[spacing](schedule, int(steps), start)
    if times[-1] < 1.5 * least:  # it visits 1/T itself, which is to be the end
        times = SPACINGS[spacing](schedule, int(steps) + 1, start)[:-1]
    return given_times([*times, least])


def given_times(times: Sequence[float] | np.ndarray) -> np.ndarray:
    """Check times that a person chose: at least two, within [0, 1], strictly falling (or rising, for inversion)."""
    values = _numbers("times", times)
    if values.ndim != 1 or len(values) < 2:
        raise InputError("times must be a list of at least two numbers: where to start and where to end")
    if not ((values >= 0) & (values <= 1)).all():
        bad = values[~((values >= 0) & (values <= 1))][0]
        raise InputError(f"times lie in [0, 1] (0 is data, 1 is noise), not {bad:g}")
    differences = np.diff(values) * (-1 if values[-1] > values[0] else 1)
    rises = np.flatnonzero(differences >= 0)
    if len(rises):
        i = int(rises[0])
        raise InputError(f"times must fall strictly, but {values[i]:g} is followed by {values[i + 1]:g}")
    return values


def _numbers(what: str, values: object) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} must be a list of numbers: {error}") from error


def times_of_indices(schedule: NoiseSchedule, indices: Sequence[int]) -> np.ndarray:
    """Times of the steps T-1 … 0 of other libraries, such as a published list; the end at 0 is added.

    "Align Your Steps" (Sabour et al. 2024) gives for Stable Diffusion 1.5: 999, 850, 736, 645, 545, 455, 343, 233, 124,
    24.
    """
    return given_times([*((_numbers("steps", indices) + 1) / schedule.steps), 0.0])


def times_of_sigmas(schedule: NoiseSchedule, sigmas: Sequence[float] | np.ndarray) -> np.ndarray:
    """Times of noise levels σ/α, falling, as EDM and k-diffusion list them; 0 is the data."""
    levels = _numbers("noise levels", sigmas)
    if not (levels >= 0).all():
        raise InputError("noise levels are numbers from 0 upwards")
    with np.errstate(divide="ignore"):
        log_snr = -2 * np.log(levels)
    return given_times(np.where(levels > 0, schedule.time(np.where(levels > 0, log_snr, 0.0)), 0.0))


def resampled(schedule: NoiseSchedule, times: Sequence[float] | np.ndarray, steps: int) -> np.ndarray:
    """A list of times for another number of steps, linear in log σ/α between its entries (Sabour et al. 2024, sec. 4).

    A first time at zero SNR counts as the schedule's last finite one; an end at 0 is kept as the last step.
    """
    given = given_times(times)
    inner = given[given > 0]
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= schedule.steps:
        raise InputError(f"steps must be a whole number from 1 to {schedule.steps}, not {steps!r}")
    log_snr = np.maximum(schedule.log_snr(inner), _log_snr_range(schedule, 1.0)[0])
    count = steps if given[-1] == 0 else steps + 1
    at = np.linspace(0, len(inner) - 1, count)
    new = schedule.time(np.interp(at, np.arange(len(inner)), log_snr))
    new[0] = inner[0]
    return given_times([*new, 0.0] if given[-1] == 0 else new)


def _trained(schedule: NoiseSchedule, start: float) -> int:
    """How many of the trained steps 1/T, 2/T … lie at `start` or below."""
    return math.floor(start * schedule.steps + 1e-9)


def _log_snr_range(schedule: NoiseSchedule, start: float) -> tuple[float, float]:
    """λ at the start (at t = 1 the last finite one, where λ(1) = -∞) and at t = 1/T."""
    knots = schedule.log_snr_knots
    last = float(knots[-1] if np.isfinite(knots[-1]) else knots[-2])
    return last if start == 1 else max(last, schedule.log_snr(start)), float(knots[0])


def _times_of_log_snr(schedule: NoiseSchedule, log_snr: np.ndarray, start: float) -> np.ndarray:
    times = schedule.time(log_snr)
    times[0] = start  # rounding, and a terminal log-SNR of -∞
    return times
