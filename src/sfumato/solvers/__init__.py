"""Solvers: functions that return tables, and the one loop that runs them all."""

from sfumato.solvers.loop import Denoiser, Step, solve, steps
from sfumato.solvers.registry import SOLVERS, Solver, get, names
from sfumato.solvers.spacing import SPACINGS, resampled, times_of_indices, times_of_sigmas
from sfumato.solvers.table import Row, Table

__all__ = [
    "SOLVERS",
    "SPACINGS",
    "Denoiser",
    "Row",
    "Solver",
    "Step",
    "Table",
    "get",
    "names",
    "resampled",
    "solve",
    "steps",
    "times_of_indices",
    "times_of_sigmas",
]
