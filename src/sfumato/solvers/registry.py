"""The solvers by name. To add one: write the function that returns its rows, and enter it here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sfumato.diffusion.schedule import MAX_LOG_SNR, NoiseSchedule
from sfumato.errors import InputError, nearest
from sfumato.solvers.adams import ab, deis, ipndm, lms, plms
from sfumato.solvers.churn import edm, restart
from sfumato.solvers.exponential import dpm_solver_multistep, dpmpp_2m, dpmpp_3m, unipc
from sfumato.solvers.first_order import ancestral_euler, ddim, ddpm, euler, lcm
from sfumato.solvers.singlestep import dpm_solver_singlestep, dpmpp_2s, heun
from sfumato.solvers.spacing import given_times, spaced_times
from sfumato.solvers.stochastic import er_sde, sde_dpmpp
from sfumato.solvers.table import Row, Table

__all__ = ["SOLVERS", "Solver", "get", "names"]


@dataclass(frozen=True)
class Solver:
    """What is known of a solver.

    Attributes:
        rows: (schedule, times of the steps, **options) -> a row for each network call.
        order: of convergence to the probability-flow ODE; 0 for stochastic ones.
        spacing: the default; for deterministic ones the better of "visible" and "log-snr" on the shipped model in most
            cases of bench/results/solvers.json.
        summary: a line for listings.
        calls: network calls a step, where it is a whole one.
        fixed: options that the name stands for.
    """

    rows: Callable[..., list[Row]]
    order: int
    spacing: str
    summary: str
    calls: str = "1"
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """The options that may be given, with their defaults."""
        parameters = inspect.signature(self.rows).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in self.fixed}


def _family(
    name: str, orders: Sequence[int], rows: Callable[..., list[Row]], spacing: str, summary: str
) -> dict[str, Solver]:
    """name-1, name-2 … with the orders of convergence that they reach."""
    return {
        f"{name}-{p}": Solver(rows, order, spacing, summary, fixed={"order": p}) for p, order in enumerate(orders, 1)
    }


SOLVERS: dict[str, Solver] = {
    "ddpm": Solver(ddpm, 0, "trailing", "ancestral sampling (Ho et al. 2020)"),
    "ddim": Solver(ddim, 1, "visible", "eta=0 deterministic … 1 ancestral (Song et al. 2021)"),
    "euler": Solver(euler, 1, "visible", "Euler in sigma/alpha; equal to ddim at eta=0 (Karras et al. 2022)"),
    "ancestral-euler": Solver(ancestral_euler, 0, "visible", "Euler, then noise; equal to ddim (k-diffusion)"),
    "heun": Solver(heun, 2, "visible", "Heun in sigma/alpha (Karras et al. 2022)", "2"),
    "edm": Solver(edm, 0, "visible", "Heun with noise added before each step (Karras et al. 2022)", "2"),
    "restart": Solver(restart, 0, "visible", "Heun, going back up a few times (Xu et al. 2023)", "2 + restarts"),
    "dpm-solver-1": Solver(dpm_solver_multistep, 1, "visible", "equal to ddim (Lu et al. 2022)", fixed={"order": 1}),
    "dpm-solver-2s": Solver(
        dpm_solver_singlestep, 2, "visible", "singlestep (Lu et al. 2022)", "2", fixed={"order": 2}
    ),
    "dpm-solver-3s": Solver(
        dpm_solver_singlestep, 3, "visible", "singlestep (Lu et al. 2022)", "3", fixed={"order": 3}
    ),
    "dpm-solver-2m": Solver(dpm_solver_multistep, 2, "visible", "multistep (Lu et al. 2022)", fixed={"order": 2}),
    "dpm-solver-3m": Solver(dpm_solver_multistep, 3, "visible", "multistep (Lu et al. 2022)", fixed={"order": 3}),
    "dpmpp-2s": Solver(dpmpp_2s, 2, "visible", "DPM-Solver++(2S), singlestep (Lu et al. 2022b)", "2"),
    "dpmpp-2m": Solver(dpmpp_2m, 2, "visible", "DPM-Solver++(2M) (Lu et al. 2022b)"),
    "dpmpp-3m": Solver(dpmpp_3m, 3, "visible", "DPM-Solver++ of order 3, exact (Lu et al. 2022b)"),
    "sde-dpmpp-2m": Solver(sde_dpmpp, 0, "visible", "SDE-DPM-Solver++(2M) (Lu et al. 2022b)", fixed={"order": 2}),
    "sde-dpmpp-3m": Solver(sde_dpmpp, 0, "visible", "SDE-DPM-Solver++ of order 3, exact", fixed={"order": 3}),
    **_family("unipc", [2, 3, 4], unipc, "visible", "an order less without corrector (Zhao et al. 2023)"),
    **_family("deis", [1, 2, 3], deis, "visible", "tAB-DEIS (Zhang & Chen 2023)"),
    **_family("ipndm", [1, 2, 3, 4], ipndm, "visible", "iPNDM (Zhang & Chen 2023)"),
    "plms": Solver(plms, 4, "visible", "PNDM (Liu et al. 2022)", "1 + warm-up"),
    "lms": Solver(lms, 4, "visible", "linear multistep in sigma/alpha (k-diffusion)"),
    "ab": Solver(ab, 3, "visible", "Adams-Bashforth in eps, x0 or v"),
    **_family("er-sde", [0, 0, 0], er_sde, "visible", "ER-SDE (Cui et al. 2023)"),
    "lcm": Solver(lcm, 0, "trailing", "consistency sampling, all noise new (Luo et al. 2023)"),
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
    end: str = "data",
    **options: float | str,
) -> Table:
    """The table of a solver.

    Args:
        name: one of `names()`.
        schedule: of the model.
        steps: how many, from 1 to the schedule's T.
        spacing: where they lie, one of `SPACINGS`; each solver has a default.
        times: own times instead of steps and spacing: strictly falling; the last is where the result lives. Strictly
            rising times run a deterministic solver backwards, from data to noise (see `inversion`).
        end: "data" for t = 0, or "sigma-min" for 1/T, the least noise that was trained on.
        options: of the solver, such as eta=0.5 for "ddim" or variance="large" or "learned" for "ddpm".

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
        if isinstance(solver.options[option], bool) and not isinstance(options[option], bool):
            raise InputError(f"solver {name!r}: {option} is true or false, not {options[option]!r}")
    if (times is None) == (steps is None) or (times is not None and (spacing is not None or end != "data")):
        raise InputError("say either steps (and a spacing and an end, if you like) or times")
    if times is None:
        assert steps is not None
        spacing = solver.spacing if spacing is None else spacing
        grid = spaced_times(schedule, steps, spacing, end)
    else:
        spacing, grid = "given", given_times(times)
        if grid[-1] > grid[0] and (not solver.order or options.get("eta")):
            raise InputError(f"solver {name!r} draws noise and cannot run from data to noise: its times must fall")
    if (schedule.log_snr(grid[grid > 0]) > MAX_LOG_SNR).any():
        raise InputError(f"the time {grid[grid > 0].min():g} is too near to 0: end at 0 itself")
    rows = solver.rows(schedule, grid, **solver.fixed, **options)
    title = name + "".join(f" {key}={value}" for key, value in options.items())
    table = Table.from_rows(title, rows, float(grid[-1]), len(grid) - 1, spacing)
    return replace(table, learned=True) if options.get("variance") == "learned" else table
