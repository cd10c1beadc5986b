"""From data to noise: deterministic solvers run backwards, and the way between two noises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.registry import SOLVERS, get
from sfumato.solvers.spacing import given_times, spaced_times
from sfumato.solvers.table import Table

__all__ = ["inversion", "slerp"]


def inversion(
    name: str,
    schedule: NoiseSchedule,
    steps: int | None = None,
    spacing: str | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    **options: float | str,
) -> Table:
    """The table that takes pictures to the noise which sampling makes them of (Song et al. 2021, section 4.3).

    It runs the probability-flow ODE the other way, over the times that sampling would visit, so that there and back
    differ by an error of the solver's order, down to a floor that the two ends set. At data itself no network can be
    asked: the table begins at the least noise t_1, and is given α(t_1)·x_0. What is missing there to a point of the
    flow is half the noise that the first call finds, the slope being 0 at σ = 0; the first rows put it in.

    Args:
        name: a deterministic solver.
        schedule: of the model.
        steps, spacing: as for sampling; there is one call a step, for solvers with one.
        times: own times, strictly rising from the least noise.
        options: of the solver.

    Raises:
        InputError: as in `get`, and for a solver that draws noise.
    """
    if name in SOLVERS and not SOLVERS[name].order:
        raise InputError(f"solver {name!r} draws noise; a picture can be inverted by a deterministic one, such as ddim")
    if (times is None) == (steps is None):
        raise InputError("say either steps (and a spacing, if you like) or times")
    if times is None:
        if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps < schedule.steps:
            raise InputError(f"steps of an inversion are a whole number from 1 to {schedule.steps - 1}, not {steps!r}")
        default = SOLVERS[name].spacing if name in SOLVERS else "log-snr"
        grid = spaced_times(schedule, steps + 1, default if spacing is None else spacing)[:-1][::-1]
        if grid[-1] != 1:
            raise InputError(f"spacing {spacing!r} does not begin at t = 1, where the noise is to be; take another")
    else:
        grid = given_times(times)
        if grid[-1] < grid[0] or grid[0] == 0:
            raise InputError("times of an inversion rise, from the least noise, which is above 0")
    table = get(name, schedule, None, None, grid, "data", **options)
    X, D = table.X.copy(), table.D.copy()
    half = schedule.alpha(float(grid[0])) / 2
    for i in range(min(table.calls, table.window)):  # whatever is made of x_0 is made of 3/2·x_0 - α/2·x̂0_0
        D[i, i] -= half * X[i, i]
        X[i, i] *= 3 / 2
    return dataclasses.replace(table, name=f"{table.name}, inverted", X=X, D=D)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The point at a share of the way from a to b, picture by picture, along the arc between them (N, …).

    Two noises of variance 1 whose correlation is cos θ give noise of variance 1, for every share; a straight line does
    not, and from too quiet a noise comes a grey picture.
    """
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=1).double().clamp(-1, 1)
    theta = torch.arccos(cosine)
    near = theta < 1e-6  # the same direction: a straight line; between opposite ones there is no one arc
    theta = theta.clamp(max=torch.pi - 1e-6)
    safe = torch.where(near, torch.ones_like(theta), theta)
    of_a = torch.where(near, 1 - share, torch.sin((1 - share) * safe) / torch.sin(safe))
    of_b = torch.where(near, share, torch.sin(share * safe) / torch.sin(safe))
    shape = (-1, *[1] * (a.ndim - 1))
    return of_a.to(a).reshape(shape) * a + of_b.to(b).reshape(shape) * b
