"""Hand-made tables against the reference: what a learned one has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.solvers import get, solve
from sfumato.tuning.reference import Reference

__all__ = ["HAND_MADE", "Comparison", "compared"]

HAND_MADE = ("ddim", "dpmpp-2m", "unipc-2", "deis-3")
LAID_OUT = ("log-snr", "karras", "visible")
"""One of each family with one call a step, and three spacings: what a fit is compared with. `make evidence-solvers`
measures all the solvers."""


class Comparison(NamedTuple):
    """How far a hand-made table ends from the reference."""

    solver: str
    spacing: str
    rmse: float


def compared(
    reference: Reference,
    schedule: NoiseSchedule,
    steps: int,
    names: Sequence[str] = HAND_MADE,
    spacings: Sequence[str] = LAID_OUT,
) -> Iterator[Comparison]:
    """The error of every hand-made table, with every spacing that it may have."""
    for spacing in spacings:
        for name in names:
            table = get(name, schedule, steps, spacing)
            yield Comparison(name, spacing, reference.error(solve(reference.denoise, reference.start, table)))
