"""A table fitted to a model. Given the times, every row is a linear least-squares problem, solved in closed form.

Row i leads from the point that the rows before it reached to the reference's point at the next time:

    x_{i+1} = a·x_i + Σ_k d_k·x̂0_{i-k},    so that Σ (x_{i+1} - x_ref(t_{i+1}))² is least

over all pictures and pixels. The rows before it being fixed, a row also mends what they got wrong. Where the calls
lie is then found by moving one time after the other while the error at the end falls. The idea that a solver's numbers
can be learned is that of bespoke solvers (Shaul et al. 2024) and S4S (Frankel et al. 2025), which descend a gradient
through the whole trajectory; here no gradient is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.solvers import Row, Table
from sfumato.tuning.reference import Reference

__all__ = ["check_steps", "fit_table"]

WINDOW = 4  # x̂0 that a row may use
STRIDES = (8, 4, 2, 1)
RIDGE = 1e-8


class Stage(NamedTuple):
    """A row while a table is fitted: the places of its call and its end on the reference, what it saw, where it led."""

    call: int
    end: int
    denoised: Tensor
    x: Tensor
    row: Row


def fit_table(
    reference: Reference,
    steps: int,
    near: Sequence[Table] = (),
    progress: Callable[[int, float], None] | None = None,
) -> Table:
    """The table of `steps` network calls that comes nearest to the reference.

    Args:
        reference: trajectories of the model.
        steps: network calls, from 1 to half of the reference's.
        near: tables fitted before, of any number of steps: their times, resampled, are tried first too.
        progress: called with the number of tables tried and the least error so far.

    Raises:
        InputError: when there are too many steps for this reference.
    """
    check_steps(steps, len(reference.times) - 1)
    starts = [_fitted(reference, places) for places in _starts(reference, steps, near)]
    stages = min(starts, key=lambda start: reference.error(start[-1].x))
    best, tried = reference.error(stages[-1].x), len(starts)
    for stride in STRIDES:
        moved = True
        while moved:
            moved = False
            for k in range(1, steps):
                for move in (stride, -stride):
                    places = [stage.call for stage in stages] + [stages[-1].end]
                    places[k] += move
                    if not places[k - 1] < places[k] < places[k + 1]:
                        continue
                    candidate = _fitted(reference, places, stages)
                    tried += 1
                    error = reference.error(candidate[-1].x)
                    if error < best:
                        stages, best, moved = candidate, error, True
                        break
                if progress:
                    progress(tried, best)
    rows = [stage.row for stage in stages]
    return Table.from_rows("tuned", rows, float(reference.times[-1]), steps, "tuned")


def check_steps(steps: int, fine_steps: int) -> None:
    """Raise `InputError` unless a table of so many steps can be fitted to a reference of so many fine ones."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= fine_steps // 2:
        raise InputError(f"a table is fitted for 1 to {fine_steps // 2} steps, not {steps!r}")


def _starts(reference: Reference, steps: int, near: Sequence[Table]) -> list[list[int]]:
    """Where a search may begin, as places on the reference, (steps + 1,) rising: where x̂0 changes equally much between
    two calls; even on the reference, which is in λ, up to its last quarter; and as in other tables."""
    last = len(reference.times) - 1
    by_change = np.searchsorted(reference.changed, np.linspace(0, reference.changed[-1], steps + 1))
    even = np.r_[np.linspace(0, 0.75 * last, steps), last]
    others = []
    for table in near:
        places = np.interp(-table.times, -reference.times, np.arange(last + 1))
        others.append(np.interp(np.linspace(0, table.steps, steps + 1), np.arange(table.steps + 1), places))
    return [_apart(np.round(places).astype(int), last) for places in (by_change, even, *others)]


def _apart(places: np.ndarray, last: int) -> list[int]:
    """From 0 to the last, and at least one apart."""
    steps = len(places) - 1
    apart = [0]
    for k in range(1, steps):
        apart.append(min(max(int(places[k]), apart[-1] + 1), last - steps + k))
    return [*apart, last]


def _fitted(reference: Reference, places: Sequence[int], known: Sequence[Stage] = ()) -> list[Stage]:
    """The rows for these places. The first of the `known` ones are kept as long as they are the same."""
    same = 0
    while same < len(known) and [known[same].call, known[same].end] == list(places[same : same + 2]):
        same += 1
    stages = list(known[:same])
    for call, end in pairwise(places[same:]):
        x = stages[-1].x if stages else reference.start
        t = float(reference.times[call])
        denoised = reference.denoise(x, t)
        seen = [x, denoised, *(stage.denoised for stage in stages[::-1][: WINDOW - 1])]
        weights = _least_squares(seen, reference.states[end])
        x_next = torch.stack([w * value for w, value in zip(weights, seen, strict=True)]).sum(0)
        stages.append(Stage(call, end, denoised, x_next, Row(t, weights[:1], weights[1:])))
    return stages


def _least_squares(seen: Sequence[Tensor], target: Tensor) -> list[float]:
    """Weights w that minimise |Σ w·seen - target|², in float64, by the normal equations: there are at most five."""
    columns = torch.stack([value.flatten().double() for value in seen])
    gram = columns @ columns.T
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(seen), dtype=torch.float64, device=gram.device)
    return torch.linalg.solve(gram, columns @ target.flatten().double()).tolist()
