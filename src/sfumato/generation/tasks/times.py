"""When a task's network calls are made: from a lower start down, and again and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.generation.request import Request
from sfumato.models.tuned import TUNED
from sfumato.solvers import Table
from sfumato.solvers.resampling import repaint
from sfumato.solvers.spacing import spaced_times

__all__ = ["NO_RESAMPLING", "Resampling", "begun", "table_of"]

JUMP = 10


@dataclass(frozen=True)
class Resampling:
    """RePaint's resampling: every `jump` steps (default: the paper's 10) are done `repeats` times, 1 being a plain way.

    See `solvers.resampling`.
    """

    repeats: int = 1
    jump: int | None = None

    def __post_init__(self) -> None:
        if self.repeats == 1 and self.jump is not None:
            raise InputError(f"a jump of {self.jump} does nothing without repeats; say how often to repeat, such as 5")

    def facts(self) -> dict[str, Any]:
        """What a picture says of it."""
        return {} if self.repeats == 1 else {"repeats": self.repeats, "jump": self.jump or JUMP}


NO_RESAMPLING = Resampling()


def begun(model: Model, request: Request, strength: float) -> Request:
    """The request, with its steps spread from t = strength down to the end, by the rule of its spacing.

    There are as many steps as were asked for. A strength of 1 changes nothing.

    Raises:
        InputError: for a strength outside (0, 1], more steps than the schedule has below it, or times that are not
            spaced by a rule: one's own, or those of a table.
    """
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= 1:
        raise InputError(
            f"strength is the time to start from, above 0 (the picture) and up to 1 (all noise), not {strength!r}"
        )
    if strength == 1:
        return request
    if request.times is not None:
        raise InputError(f"own times begin where they begin, at {request.times[0]:g}; leave them or the strength out")
    times = _laid_out(model, request, float(strength))
    return replace(request, steps=None, spacing=None, end="data", times=tuple(times.tolist()))


def table_of(model: Model, request: Request, resampling: Resampling = NO_RESAMPLING) -> Table:
    """The table of a request, resampled. Raises `InputError` for a table that cannot be."""
    if resampling.repeats == 1:
        return model.table(request)
    times = _laid_out(model, request, 1.0) if request.times is None else np.asarray(request.times)
    options, schedule = dict(request.options), model.diffusion.schedule
    jump = JUMP if resampling.jump is None else resampling.jump
    return repaint(_name(model, request), schedule, times, jump=jump, repeats=resampling.repeats, **options)


def _laid_out(model: Model, request: Request, start: float) -> np.ndarray:
    """The times of the steps that a request without times of its own asks for."""
    _name(model, request)
    plain = model.table(request)
    return spaced_times(model.diffusion.schedule, plain.steps, plain.spacing, request.end, start)


def _name(model: Model, request: Request) -> str:
    """The solver's name. Raises `InputError` where there is a table instead."""
    solver = model.spec.sampling.solver if request.solver is None else request.solver
    if isinstance(solver, Table) or solver == TUNED:
        name = solver.name if isinstance(solver, Table) else solver
        raise InputError(f"table {name!r} has its own times; for others give a solver by name, such as ddim")
    return solver
