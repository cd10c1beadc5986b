"""The one loop. It knows tables, and nothing of any solver, schedule or guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.errors import DivergedError, InputError
from sfumato.seeds import Stream, noise
from sfumato.solvers.table import Table

__all__ = ["Denoiser", "Step", "solve", "steps"]

Denoiser = Callable[[Tensor, float], Tensor]
"""(x_t (N, …), t) -> x̂0 (N, …)"""


class Step(NamedTuple):
    """What the loop did at one network call."""

    i: int  # number of the call, from 0
    t: float  # where the call was made
    denoised: Tensor  # x̂0 (N, …)
    x: Tensor  # the next point (N, …)


def steps(denoise: Denoiser, x: Tensor, table: Table, seeds: Sequence[int] | None = None) -> Iterator[Step]:
    """Run a table, yielding every step. The last one's `x` is the result.

    Args:
        denoise: (x_t, t) -> x̂0.
        x: (N, …) the noise to start from, at time table.times[0]. It is not changed.
        table: the solver.
        seeds: one for each picture; a stochastic table needs them. Noise is a function of (seed, step).

    Raises:
        InputError: when seeds are missing or not one a picture.
        DivergedError: at the end, when a number stopped being finite; it names the step and its time.
    """
    if table.stochastic and (seeds is None or len(seeds) != len(x)):
        given = "none" if seeds is None else len(seeds)
        raise InputError(
            f"solver {table.name!r} draws fresh noise: it needs a seed for each of {len(x)} pictures, got {given}"
        )
    points: list[Tensor] = []
    pictures: list[Tensor] = []
    sums: list[Tensor] = []  # of every new point: finite as long as the point is; looked at once, after the last step
    for i, (t, weights_x, weights_d, s) in enumerate(table.program):
        denoised = denoise(x, t)
        points.insert(0, x)
        pictures.insert(0, denoised)
        del points[table.window :], pictures[table.window :]
        (k, first), *others = weights_d
        x = pictures[k] * first
        for k, weight in others:
            x.add_(pictures[k], alpha=weight)
        for k, weight in weights_x:
            x.add_(points[k], alpha=weight)
        if s:
            assert seeds is not None
            x.add_(noise(seeds, x.shape[1:], Stream.STEP, i).to(x), alpha=s)
        sums.append(x.sum())
        yield Step(i, t, denoised, x)
    finite = torch.stack(sums).isfinite().tolist()
    if not all(finite):
        i = finite.index(False)
        raise DivergedError(
            f"a value stopped being finite at network call {i + 1} of {table.calls} (t = {table.times[i]:.5f}, "
            f"solver {table.name!r}). The network's output there is NaN or infinite: check its weights and its input."
        )


def solve(denoise: Denoiser, x: Tensor, table: Table, seeds: Sequence[int] | None = None) -> Tensor:
    """Run a table to its end and return the result. Arguments and errors as in `steps`."""
    for step in steps(denoise, x, table, seeds):
        x = step.x
    return x
