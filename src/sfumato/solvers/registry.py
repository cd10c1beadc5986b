"""The solvers by name. To add one: write the function that returns its rows, and enter it here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.diffusion.schedule import MAX_LOG_SNR, NoiseSchedule
from sfumato.errors import InputError, nearest
from sfumato.solvers.first_order import ddim, ddpm, euler
from sfumato.solvers.second_order import dpmpp_2m, heun, heun_times
from sfumato.solvers.spacing import given_times, spaced_times
from sfumato.solvers.table import Row, Table

__all__ = ["SOLVERS", "Solver", "get", "names"]


@dataclass(frozen=True)
class Solver:
    """What is known of a solver.

    Attributes:
        rows: (schedule, times of the steps, **options) -> a row for each network call.
        order: of convergence; 0 for stochastic ones.
        calls: network calls a step (Heun's step to t = 0 takes one).
        spacing: the default.
        call_times: the times of its network calls, where they are not those of the steps.
        summary: a line for listings.
    """

    rows: Callable[..., list[Row]]
    order: int
    spacing: str
    summary: str
    calls: int = 1
    call_times: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def options(self) -> list[str]:
        return [p.name for p in inspect.signature(self.rows).parameters.values() if p.kind is p.KEYWORD_ONLY]


SOLVERS: dict[str, Solver] = {
    "ddpm": Solver(ddpm, 0, "trailing", "ancestral sampling; variance=small|large (Ho et al. 2020)"),
    "ddim": Solver(ddim, 1, "trailing", "eta=0 deterministic … 1 ancestral (Song et al. 2021)"),
    "euler": Solver(euler, 1, "trailing", "Euler in sigma/alpha; equal to ddim at eta=0 (Karras et al. 2022)"),
    "heun": Solver(heun, 2, "karras", "Heun in sigma/alpha (Karras et al. 2022)", calls=2, call_times=heun_times),
    "dpmpp-2m": Solver(dpmpp_2m, 2, "log-snr", "DPM-Solver++(2M), order=2|1 (Lu et al. 2022b)"),
}


def names() -> list[str]:
    """The names that `get` knows."""
    return list(SOLVERS)


def get(
    name: str,
    schedule: NoiseSchedule,
    steps: int | None = None,
    spacing: str | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    **options: float | str,
) -> Table:
    """The table of a solver.

    Args:
        name: one of `names()`.
        schedule: of the model.
        steps: how many, from 1 to the schedule's T.
        spacing: where they lie, one of `SPACINGS`; each solver has a default.
        times: own times instead of steps and spacing: strictly falling; the last is where the result lives.
        options: of the solver, such as eta=0.5 for "ddim" or variance="large" for "ddpm".

    Raises:
        InputError: for an unknown name, spacing or option (naming the nearest), or times that cannot be.
    """
    if name not in SOLVERS:
        raise InputError(f"no solver {name!r}. {nearest(name, SOLVERS)}")
    solver = SOLVERS[name]
    for option in options:
        if option not in solver.options:
            known = nearest(option, solver.options) if solver.options else "It takes none."
            raise InputError(f"solver {name!r} has no option {option!r}. {known}")
    if (times is None) == (steps is None) or (times is not None and spacing is not None):
        raise InputError("say either steps (and a spacing, if you like) or times")
    if times is None:
        assert steps is not None
        spacing = spacing or solver.spacing
        grid = spaced_times(schedule, steps, spacing)
    else:
        spacing, grid = "given", given_times(times)
    if (schedule.log_snr(grid[grid > 0]) > MAX_LOG_SNR).any():
        raise InputError(f"the time {grid[grid > 0][-1]:g} is too near to 0: end at 0 itself")
    rows = solver.rows(schedule, grid, **options)
    title = name + "".join(f" {key}={value}" for key, value in options.items())
    return Table.from_rows(title, solver.call_times(grid) if solver.call_times else grid, rows, spacing)
