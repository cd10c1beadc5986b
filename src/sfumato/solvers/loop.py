"""The one loop. It knows tables, and nothing of any solver, schedule or guidance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.errors import DivergedError, InputError
from sfumato.seeds import Stream, check_seed, noise_of_steps
from sfumato.solvers.table import Table

__all__ = ["Denoiser", "Spread", "Step", "fresh_noise", "solve", "steps"]

Denoiser = Callable[[Tensor, float], Tensor]
"""(x_t (N, …), t) -> x̂0 (N, …)"""
Spread = Callable[[int, Tensor], Tensor]
"""(number of the row, fresh noise (N, …)) -> that noise with the spread that the row's S is multiplied by"""


NOISE_BLOCK = 16_384  # numbers


class Step(NamedTuple):
    """What the loop did at one network call."""

    i: int  # number of the call, from 0
    t: float  # where the call was made
    denoised: Tensor  # x̂0 (N, …)
    x: Tensor  # the next point (N, …)


def steps(
    denoise: Denoiser, x: Tensor, table: Table, seeds: Sequence[int] | None = None, spread: Spread | None = None
) -> Iterator[Step]:
    """Run a table, yielding every step. The last one's `x` is the result.

    Args:
        denoise: (x_t, t) -> x̂0, a function of its arguments alone.
        x: (N, …) the noise to start from, at time table.times[0]. It is not changed.
        table: the solver.
        seeds: one for each picture; a stochastic table needs them. Noise is a function of (seed, step).
        spread: of the noise, for a table of a learned variance.

    Raises:
        InputError: when seeds are missing or not one a picture, or the spread of a learned variance is.
        DivergedError: at the end, when the result is not finite; it names the step where that began, and its time.
    """
    if table.stochastic and (seeds is None or len(seeds) != len(x)):
        given = "none" if seeds is None else len(seeds)
        raise InputError(f"solver {table.name!r} draws fresh noise: {len(x)} pictures need a seed each, got {given}")
    if table.learned and spread is None:
        raise InputError(f"solver {table.name!r} takes its noise from a model that has learned its variance")
    seeds = None if seeds is None else [check_seed(seed) for seed in seeds]
    step = None
    for step in _walk(denoise, x, table, seeds, spread):
        yield step
    assert step is not None  # a table has at least one row
    if not _finite(step.x):  # looked at once; everything being a function, the way can be walked again
        bad = next((again for again in _walk(denoise, x, table, seeds, spread) if not _finite(again.x)), step)
        raise DivergedError(
            f"a value stopped being finite at network call {bad.i + 1} of {table.calls} (t = {bad.t:.5f}, solver "
            f"{table.name!r}). The network's output there is NaN or infinite: check its weights, its input, and its "
            "number type (float16 ends at 65504; bfloat16 and float32 do not)."
        )


def _finite(x: Tensor) -> bool:
    """Whether every value is. A sum shows any that is not, ten times faster; only one too large for it needs a look."""
    return math.isfinite(x.sum().item()) or bool(x.isfinite().all())


def _walk(
    denoise: Denoiser, x: Tensor, table: Table, seeds: Sequence[int] | None, spread: Spread | None
) -> Iterator[Step]:
    fresh = fresh_noise(table, seeds or (), x)
    points: list[Tensor] = []  # the latest first
    pictures: list[Tensor] = []
    history, window = (points, pictures), table.window
    for i, (t, terms, s) in enumerate(table.program):
        denoised = denoise(x, t)
        points.insert(0, x)
        pictures.insert(0, denoised)
        if i >= window:
            del points[window], pictures[window]
        total = None
        for which, k, weight in terms:
            value = history[which][k]
            total = value * weight if total is None else total.add_(value, alpha=weight)
        x = torch.zeros_like(denoised) if total is None else total
        if s:
            z = next(fresh)
            x.add_(z if spread is None else spread(i, z), alpha=s)
        yield Step(i, t, denoised, x)


def fresh_noise(table: Table, seeds: Sequence[int], like: Tensor) -> Iterator[Tensor]:
    """Noise for the rows that draw it, made for as many rows at once as fit a small block."""
    rows = [i for i, row in enumerate(table.program) if row.s]
    together = max(1, NOISE_BLOCK // max(like.numel(), 1))
    for first in range(0, len(rows), together):
        yield from noise_of_steps(seeds, like.shape[1:], Stream.STEP, rows[first : first + together]).to(like)


def solve(
    denoise: Denoiser, x: Tensor, table: Table, seeds: Sequence[int] | None = None, spread: Spread | None = None
) -> Tensor:
    """Run a table to its end and return the result. Arguments and errors as in `steps`."""
    for step in steps(denoise, x, table, seeds, spread):
        x = step.x
    return x
