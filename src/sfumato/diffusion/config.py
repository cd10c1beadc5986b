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
    beta_start: float | None = None
    """first β of linear and scaled-linear; none: Ho's, Stable Diffusion's"""
    beta_end: float | None = None
    """last β of these"""

    def build(self) -> NoiseSchedule:
        """The schedule. Raises `InputError` for an unknown name, or for a rescale or β where there is none."""
        from sfumato.diffusion.schedule import NoiseSchedule

        if self.name not in SCHEDULES:
            raise InputError(f"no schedule {self.name!r}. {nearest(self.name, SCHEDULES)}")
        betas = {key: value for key in ("beta_start", "beta_end") if (value := getattr(self, key)) is not None}
        if betas and self.name not in ("linear", "scaled-linear"):
            raise InputError(f"the schedule {self.name!r} has no {next(iter(betas))}; linear and scaled-linear have")
        make = getattr(NoiseSchedule, self.name.replace("-", "_"))
        schedule: NoiseSchedule = make(steps=self.steps, **betas)
        return schedule.zero_terminal_snr() if self.zero_terminal_snr else schedule
