"""The variational bound of many pictures under a trained model, some at a time, of all terms or of drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.bits import falling_times
from sfumato.diffusion.bound import GaussianBound, Guess, variational_bound
from sfumato.diffusion.decoder import Decoder
from sfumato.diffusion.draws import strata
from sfumato.diffusion.learned import log_variance
from sfumato.diffusion.reverse import Variance
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.evaluation.told import ToldPictures
from sfumato.generation.spread import learned_by
from sfumato.guidance.thresholding import clip
from sfumato.models.spec import ModelSpec
from sfumato.seeds import Stream, generator
from sfumato.solvers import Denoiser

__all__ = ["TOGETHER", "AnyVariance", "Calls", "Progress", "bounds", "own_variance", "whole"]

TOGETHER = 16  # pictures at once; those together share the terms that are drawn
CLUSTERS = 16  # groups of such that there should be at least, for a standard error

AnyVariance = Variance | Literal["learned"]
Progress = Callable[[int, int], None] | None
"""Told how many network calls of how many are done; a call for each picture."""


class Calls:
    """Counts network calls, and tells of them."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def add(self, pictures: int) -> None:
        """Count a call with so many pictures."""
        self.done += pictures
        if self.progress:
            self.progress(self.done, self.total)

    def counted(self, denoise: Denoiser) -> Denoiser:
        """The same denoiser, its calls counted."""

        def counting(x: Tensor, t: float) -> Tensor:
            guess = denoise(x, t)
            self.add(len(x))
            return guess

        return counting


def whole(name: str, value: int | None, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` to `most`, which None stands for. Raises `InputError` for any other."""
    value = most if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= (most or value):
        raise InputError(f"{name} are a whole number from {least}{f' to {most}' if most else ' on'}, not {value!r}")
    return value


def own_variance(spec: ModelSpec) -> AnyVariance:
    """What a model has learned, or else that of Ho et al.: "learned" or "small"."""
    return "small" if spec.variance == "fixed" else "learned"


def bounds(
    told: ToldPictures,
    steps: int | None,
    terms: int | None,
    variance: AnyVariance,
    decoder: Decoder,
    seed: int,
    progress: Progress = None,
    look: Callable[[slice, Tensor], None] | None = None,
) -> Iterator[tuple[GaussianBound, Tensor]]:
    """The bound of some pictures after the other, and how often each of its terms counts.

    Arguments as in `bits_per_dimension`. `look` is shown some of the pictures, by number, and their x̂0 of each call.
    """
    model, schedule, n = told.model, told.model.diffusion.schedule, len(told.rows)
    times = falling_times(whole("steps", steps, 2, schedule.steps), None)
    spread = _spread(model.spec, schedule, times) if variance == "learned" else None
    last = len(times) - 2
    ends = np.arange(len(times)) if terms is None else strata(last + 1, terms)
    sizes = np.diff(ends)
    calls = Calls(n * len(sizes), progress)

    def guesses(part: slice) -> Callable[[Tensor, float], Guess]:
        condition = told.condition(part)

        def guess(x: Tensor, t: float) -> Guess:
            x0, raw = model.predicted(x, t, condition)
            x0 = clip(x0)
            calls.add(len(x))
            if look:
                look(part, x0)
            return x0 if spread is None else (x0, spread(raw, t))

        return guess

    together = TOGETHER if terms is None else min(TOGETHER, max(1, n // CLUSTERS))
    for first in range(0, n, together):
        part = slice(first, first + together)
        u = generator(seed, first, Stream.LIKELIHOOD, len(times)).random(len(sizes))  # a step that no noise has
        bound = variational_bound(
            schedule,
            guesses(part),
            told.x0(part),
            told.pairs(part, seed),
            times=times,
            only=last - ends[:-1] - (u * sizes).astype(int),
            variance=variance,
            decoder=decoder,
        )
        yield bound, torch.from_numpy(sizes)


def _spread(spec: ModelSpec, schedule: NoiseSchedule, times: np.ndarray) -> Callable[[Tensor, float], Tensor]:
    """(what the network puts out beside its prediction, t) -> log v_p of the step from t, one of the times."""
    kind = learned_by(spec, schedule, times[:-1] - times[1:])
    ends = dict(pairwise(times.tolist()))
    before = float(times[-2]), float(times[-3])
    return lambda raw, t: log_variance(kind, schedule, raw, ends[t], t, before)
