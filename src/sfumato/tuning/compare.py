"""Hand-made tables against the reference: what a learned one has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.solvers import get, solve
from sfumato.tuning.reference import Reference

__all__ = ["Comparison", "compared"]

HAND_MADE = ("ddim", "dpmpp-2m", "unipc-2", "deis-3")
LAID_OUT = ("log-snr", "karras", "visible")
"""One of each family with one call a step, and three spacings: what a fit is compared with. `make evidence-solvers`
measures all the solvers."""


class Comparison(NamedTuple):
    """How far a hand-made table ends from the reference."""

    solver: str
    spacing: str
    rmse: float


def compared(reference: Reference, schedule: NoiseSchedule, steps: int) -> Iterator[Comparison]:
    """The error of each of these hand-made tables."""
    for spacing in LAID_OUT:
        for name in HAND_MADE:
            table = get(name, schedule, steps, spacing)
            yield Comparison(name, spacing, reference.error(solve(reference.denoise, reference.start, table)))
