"""RePaint's way: going back up again and again, so that what is made new comes to fit what is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.churn import noised
from sfumato.solvers.point import points_at
from sfumato.solvers.registry import get
from sfumato.solvers.spacing import given_times
from sfumato.solvers.table import Row, Table

__all__ = ["repaint"]

MOST = 1000


def repaint(
    name: str,
    schedule: NoiseSchedule,
    times: Sequence[float] | np.ndarray,
    *,
    jump: int,
    repeats: int,
    **options: float | str,
) -> Table:
    """A solver that does each stretch of its way several times (Lugmayr et al. 2022, algorithm 1 and appendix B).

    The times are cut into stretches of `jump` steps, counted from the data. At the end of a stretch a draw of
    q(x_t | x_s), the forward process, leads back to its beginning, until it was done `repeats` times. The first
    stretch, from the most noise, is done once, as in the paper: at its top there is hardly anything to keep. (The paper
    goes up in j steps of one; that is one draw.) Every stretch begins anew, so multistep solvers are of lower order in
    its first steps.

    Args:
        name: of a solver that does not itself go back up.
        schedule: of the model.
        times: of the plain way, strictly falling.
        jump: j, steps of a stretch.
        repeats: r, how often each is done; 1 is a plain way.
        options: of the solver.

    Raises:
        InputError: as in `get`, and where jump and repeats leave nothing to repeat.
    """
    for what, value in (("jump", jump), ("repeats", repeats)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= MOST:
            raise InputError(f"resampling: {what} is a whole number from 1 to {MOST}, not {value!r}")
    grid = given_times(times)
    if jump >= len(grid) - 1:
        raise InputError(
            f"resampling: a jump of {jump} of {len(grid) - 1} steps leaves nothing to repeat, the first stretch being "
            "done once; take a shorter jump or more steps"
        )
    cuts = [0, *range(len(grid) - 1, 0, -jump)[::-1]]
    rows: list[Row] = []
    steps = 0
    for first, last in pairwise(cuts):
        stretch = get(name, schedule, None, None, grid[first : last + 1], "data", **options)
        if (np.diff(stretch.times) > 0).any():
            raise InputError(f"resampling: solver {name!r} goes back up itself; take another, such as ddim or ddpm")
        top, bottom = points_at(schedule, grid[[first, last]])
        done = repeats if first else 1
        for _ in range(done - 1):
            rows += _rows(stretch)
            rows[-1] = noised(rows[-1], bottom, top)
        rows += _rows(stretch)
        steps += done * stretch.steps
    title = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
    return Table.from_rows(f"{title}, {jump} steps {repeats} times", rows, float(grid[-1]), steps, "given")


def _rows(table: Table) -> list[Row]:
    return [Row(float(t), x, d, float(s)) for t, x, d, s in zip(table.times, table.X, table.D, table.S, strict=False)]
