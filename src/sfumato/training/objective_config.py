"""What a step of training minimises, beyond prediction and weighting, as a frozen value. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sfumato.errors import InputError

__all__ = ["ObjectiveConfig"]


@dataclass(frozen=True)
class ObjectiveConfig:
    """The objective of a training."""

    times: Literal["steps", "continuous", "log-normal", "importance"] = "steps"
    """noise levels: all steps alike; all times alike; EDM's log-normal; steps with large losses more often"""
    log_normal: tuple[float, float] = (-1.2, 1.2)
    """mean and standard deviation of log(sigma/alpha) for log-normal times"""
    variance: Literal["fixed", "free", "interpolated"] = "fixed"
    """learn the variance of the reverse steps too, from the variational bound; interpolated is Improved DDPM's"""
    sigma_data: float = 0.5
    """standard deviation of the data, for prediction F and weighting edm: 0.5 for pixels, 1 for latents"""
    uncertainty: bool = False
    """learn beside the network how hard each noise level is, and weigh all alike (EDM2)"""
    self_conditioning: bool = False
    """the network also sees its own last guess of the picture; half of the training steps then cost a third more"""
    offset_noise: float = 0.0
    """noise added to whole channels, such as 0.1; see docs/training.md for its cost"""

    def __post_init__(self) -> None:
        mean, std = self.log_normal
        if not (math.isfinite(mean) and 0 < std < math.inf):
            raise InputError(f"objective.log_normal is a mean and a standard deviation above 0, not {self.log_normal}")
        if not 0 <= self.offset_noise <= 1:
            raise InputError(f"objective.offset_noise is a number from 0 to 1, such as 0.1, not {self.offset_noise}")
        if not 0 < self.sigma_data < math.inf:
            raise InputError(f"objective.sigma_data must be above 0, not {self.sigma_data}")
        if self.variance != "fixed" and self.times not in ("steps", "importance"):
            raise InputError(
                f"a learned variance is that of the schedule's steps; objective.times {self.times} has others. Take "
                "steps or importance."
            )
