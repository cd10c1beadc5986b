"""`Request`: how pictures are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.errors import InputError
from sfumato.generation.guidance import NO_GUIDANCE, Guidance
from sfumato.guidance.thresholding import check_percentile
from sfumato.seeds import check_seed
from sfumato.solvers import Table
from sfumato.solvers.spacing import given_times

__all__ = ["Label", "Prompt", "Request", "seeds_from"]

Label = str | Sequence[str] | None
Prompt = str | Sequence[str] | None


@dataclass(frozen=True)
class Request:
    """How pictures are asked for. What is None is the model's default.

    Attributes:
        steps: solver steps.
        solver: a name from `solvers.names()`, "tuned" for a table fitted to the model, or a `Table` of one's own.
        spacing: of the steps.
        times: own times in the place of steps and spacing, strictly falling; the last is where the result lives.
        end: "data", or "sigma-min" to stop at the least noise that was trained on.
        guidance_scale: w of classifier-free guidance, or of autoguidance where there is a weaker model; 1 is none.
        size: (height, width).
        clip: keep every x̂0 within [-1, 1], the range of pictures; default: where pixels are diffused.
        options: of the solver, such as (("eta", 0.5),).
        guidance: what else guides.
        dynamic_threshold: percentile of dynamic thresholding, such as 99.5, which then takes the place of `clip`. As
            that, for pixels only.
    """

    steps: int | None = None
    solver: str | Table | None = None
    spacing: str | None = None
    guidance_scale: float | None = None
    size: tuple[int, int] | None = None
    clip: bool | None = None
    options: tuple[tuple[str, float | str], ...] = ()
    times: Sequence[float] | np.ndarray | None = None
    end: str = "data"
    guidance: Guidance = NO_GUIDANCE
    dynamic_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.times is not None:
            object.__setattr__(self, "times", tuple(given_times(self.times).tolist()))
        if self.dynamic_threshold is not None:
            check_percentile(self.dynamic_threshold)


def seeds_from(n: int, seed: int | Sequence[int]) -> list[int]:
    """The seed of every picture: seed, seed + 1, … for a number, or the given ones. So picture i of `seed=s` is the
    picture of seed s + i, alone or in any batch."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"the number of pictures is a whole number, at least 1, not {n!r}")
    if isinstance(seed, int | np.integer):
        return [check_seed(int(seed) + i) for i in range(n)]
    if len(seed) != n:
        raise InputError(f"{len(seed)} seeds for {n} pictures")
    return [check_seed(s) for s in seed]
