"""The variational bound of many pictures under a trained model, some at a time, of all terms or of drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.bits import falling_times
from sfumato.diffusion.bound import GaussianBound, variational_bound
from sfumato.diffusion.decoder import Decoder
from sfumato.diffusion.draws import strata
from sfumato.diffusion.reverse import Variance
from sfumato.errors import InputError
from sfumato.evaluation.told import ToldPictures
from sfumato.guidance.thresholding import clipped
from sfumato.seeds import Stream, generator
from sfumato.solvers import Denoiser

__all__ = ["TOGETHER", "Calls", "Progress", "bounds", "whole"]

TOGETHER = 16  # pictures at once; those together share the terms that are drawn
CLUSTERS = 16  # groups of such that there should be at least, for a standard error

Progress = Callable[[int, int], None] | None
"""Told how many network calls of how many are done; a call for each picture."""


class Calls:
    """Counts network calls, and tells of them."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def counted(self, denoise: Denoiser) -> Denoiser:
        """The same denoiser, its calls counted."""

        def counting(x: Tensor, t: float) -> Tensor:
            guess = denoise(x, t)
            self.done += len(x)
            if self.progress:
                self.progress(self.done, self.total)
            return guess

        return counting


def whole(name: str, value: int | None, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` to `most`, which None stands for. Raises `InputError` for any other."""
    value = most if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= (most or value):
        raise InputError(f"{name} are a whole number from {least}{f' to {most}' if most else ' on'}, not {value!r}")
    return value


def bounds(
    told: ToldPictures,
    steps: int | None,
    terms: int | None,
    variance: Variance,
    decoder: Decoder,
    seed: int,
    progress: Progress = None,
    around: Callable[[Denoiser, slice], Denoiser] | None = None,
) -> Iterator[tuple[GaussianBound, Tensor]]:
    """The bound of some pictures after the other, and how often each of its terms counts.

    Arguments as in `bits_per_dimension`. `around` may look at what the denoiser of each part says.
    """
    model, n = told.model, len(told.rows)
    times = falling_times(whole("steps", steps, 2, model.diffusion.schedule.steps), None)
    last = len(times) - 2
    ends = np.arange(len(times)) if terms is None else strata(last + 1, terms)
    sizes = np.diff(ends)
    calls = Calls(n * len(sizes), progress)
    together = TOGETHER if terms is None else min(TOGETHER, max(1, n // CLUSTERS))
    for first in range(0, n, together):
        part = slice(first, first + together)
        u = generator(seed, first, Stream.LIKELIHOOD, len(times)).random(len(sizes))  # a step that no noise has
        denoise = calls.counted(clipped(told.denoiser(part)))
        bound = variational_bound(
            model.diffusion.schedule,
            around(denoise, part) if around else denoise,
            told.x0(part),
            told.pairs(part, seed),
            times=times,
            only=last - ends[:-1] - (u * sizes).astype(int),
            variance=variance,
            decoder=decoder,
        )
        yield bound, torch.from_numpy(sizes)
