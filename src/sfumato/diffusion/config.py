"""Which schedule, as a frozen value that fits a command line and `model.json`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from sfumato.errors import InputError, nearest

if TYPE_CHECKING:
    from sfumato.diffusion.schedule import NoiseSchedule

__all__ = ["SCHEDULES", "ScheduleConfig", "ScheduleName"]

ScheduleName = Literal["linear", "scaled-linear", "cosine", "sigmoid", "edm"]
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)


@dataclass(frozen=True)
class ScheduleConfig:
    """A schedule by name."""

    name: ScheduleName = "cosine"
    """shape of the schedule"""
    steps: int = 1000
    """T, the number of discrete steps it is trained on"""
    zero_terminal_snr: bool = True
    """rescale so that the last step is pure noise (Lin et al. 2024); not for edm"""

    def build(self) -> NoiseSchedule:
        """The schedule. Raises `InputError` for an unknown name, or a rescale where there is none."""
        from sfumato.diffusion.schedule import NoiseSchedule

        if self.name not in SCHEDULES:
            raise InputError(f"no schedule {self.name!r}. {nearest(self.name, SCHEDULES)}")
        make = getattr(NoiseSchedule, self.name.replace("-", "_"))
        schedule: NoiseSchedule = make(steps=self.steps)
        return schedule.zero_terminal_snr() if self.zero_terminal_snr else schedule
