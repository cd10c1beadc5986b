"""Which solver table a request means for a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.generation.request import Request
from sfumato.models.spec import ModelSpec
from sfumato.models.tuned import TUNED, TunedTable
from sfumato.solvers import Table, get

__all__ = ["note_scale", "table_for"]

log = logging.getLogger("sfumato")

Tuned = Mapping[int, TunedTable]


def table_for(request: Request, spec: ModelSpec, schedule: NoiseSchedule, tuned: Tuned) -> Table:
    """The solver's table, with the model's defaults filled in.

    Args:
        request: what is asked for.
        spec, schedule: of the model.
        tuned: its learned tables, by number of steps.

    Raises:
        InputError: for what goes with no table or with this one not, steps for which none was tuned, and a table that
            leads from data to noise.
    """
    if isinstance(request.solver, Table):
        own = (request.steps, request.spacing, request.times, request.options, request.end)
        if own != (None, None, None, (), "data"):
            raise InputError("a table has its own steps, spacing, times, end and options; leave them out")
        return _sampling(request.solver)
    default = spec.sampling
    solver = default.solver if request.solver is None else request.solver
    steps = default.steps if request.steps is None and request.times is None else request.steps
    if solver == TUNED:
        return _tuned(request, steps, spec.name, tuned)
    spacing = request.spacing
    if spacing is None and solver == default.solver and request.times is None:
        spacing = default.spacing
    return _sampling(get(solver, schedule, steps, spacing, request.times, request.end, **dict(request.options)))


def note_scale(table: Table, tuned: Tuned, scale: float) -> None:
    """Say it when a tuned table is used at another guidance scale than it was fitted for."""
    fitted = next((own.guidance_scale for own in tuned.values() if own.table is table), scale)
    if fitted != scale:
        log.warning(
            "the table tuned for %d steps was fitted at guidance scale %g, not %g: expect less of it",
            table.steps,
            fitted,
            scale,
        )


def _tuned(request: Request, steps: int | None, name: str, tuned: Tuned) -> Table:
    if request.spacing is not None or request.times is not None or request.options or request.end != "data":
        raise InputError("a tuned table has its own times and no options; leave spacing, times, end and options out")
    if not isinstance(steps, int) or steps not in tuned:
        known = ", ".join(map(str, sorted(tuned))) or "no number of"
        raise InputError(
            f"model {name!r} has tables tuned for {known} steps, not for {steps}. Choose one of them, or fit another "
            f"with: sfumato tune MODEL --steps {steps}"
        )
    return tuned[steps].table


def _sampling(table: Table) -> Table:
    """The table, if it leads from noise to data."""
    if table.times[0] <= table.times[-1]:
        raise InputError(f"table {table.name!r} leads from data to noise; sampling goes the other way")
    return table
