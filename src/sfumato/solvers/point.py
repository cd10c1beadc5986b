"""A time on the way from noise to data, with everything a solver wants to know of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule

__all__ = ["Point", "finite", "points_at"]


class Point(NamedTuple):
    """α, σ and ℓ = log(α/σ), half the log-SNR, at the time t."""

    t: float
    alpha: float
    sigma: float
    ell: float

    @property
    def rho(self) -> float:
        """σ/α, the noise level of EDM and k-diffusion."""
        return math.exp(-self.ell) if self.ell > -math.inf else math.inf

    @property
    def norm(self) -> float:
        """√(α² + σ²): 1 where variance is preserved."""
        return math.hypot(self.alpha, self.sigma)

    @property
    def angle(self) -> float:
        """φ = atan(σ/α), from 0 for data to π/2 for noise."""
        return math.atan2(self.sigma, self.alpha)


def points_at(schedule: NoiseSchedule, times: Iterable[float] | np.ndarray) -> list[Point]:
    """The points at these times."""
    t = np.fromiter(times, np.float64)
    columns = (t, schedule.alpha(t), schedule.sigma(t), schedule.log_snr(t) / 2)
    return [Point(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def finite(p: Point, q: Point) -> bool:
    """Whether the step from p to q is finite in ℓ: it touches neither pure noise (α = 0) nor pure data (σ = 0)."""
    return math.isfinite(p.ell) and math.isfinite(q.ell)
