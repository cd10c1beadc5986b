"""How well a model denoises real pictures at each time, beside a denoiser that has learned next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sfumato.data.dataset import Dataset
from sfumato.diffusion.trivial import trivial_error
from sfumato.errors import DivergedError, InputError
from sfumato.evaluation.intervals import Interval, intervals
from sfumato.evaluation.measures import LEVEL
from sfumato.evaluation.method import RealSet
from sfumato.evaluation.told import ToldPictures
from sfumato.generation.model import Model
from sfumato.seeds import Stream, noise

__all__ = ["ErrorAt", "LossByTime", "loss_by_time"]

BUCKETS = 20
TOGETHER = 64  # pictures at once


@dataclass(frozen=True)
class ErrorAt:
    """The mean of (x_0 - x̂0)² over values and pictures, in the middle of a bucket of times.

    Attributes:
        t: the time.
        error: of the model.
        trivial: of the trivial predictor (`diffusion.trivial`), which knows but the mean picture and one variance.
    """

    t: float
    error: Interval
    trivial: float


@dataclass(frozen=True)
class LossByTime:
    """Errors at times from data to noise, and everything they depend on.

    Attributes:
        errors: by time.
        pictures: whose.
        told: what the network was told of each; there is no guidance.
        model, weights, weights_sha256: which.
        seed: of the noise.
    """

    errors: tuple[ErrorAt, ...]
    pictures: RealSet
    told: str
    model: str
    weights: str
    weights_sha256: str
    seed: int


@torch.no_grad()
def loss_by_time(
    model: Model,
    data: Dataset,
    rows: np.ndarray,
    *,
    chosen: str,
    training: bool,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LossByTime:
    """Put noise on real pictures, at each time one draw a picture, and see how well the model takes it away.

    Args:
        model: of pixels, or of latents: then the errors are those of latents.
        data: pictures of the model's size.
        rows: which, at least 2.
        chosen: how these were, in words.
        training: whether the model was trained on the data.
        seed: of the noise, which is each picture's own.
        progress: called with the network calls done (one a picture), and of all.

    Raises:
        InputError: for a model that fills in parts of pictures, or was never saved.
        DivergedError: when the network's output is not finite.
    """
    spec, schedule = model.spec, model.diffusion.schedule
    if spec.weights is None:
        raise InputError(f"model {spec.name!r} was never saved, so its weights have no name: save and load it first")
    if spec.fills_in:
        raise InputError(f"model {spec.name!r} fills in parts of pictures: it denoises no whole ones")
    told = ToldPictures(model, data, rows)
    # middles of the buckets, at times that training had
    times = np.floor((np.arange(BUCKETS) + 0.5) / BUCKETS * schedule.steps + 1) / schedule.steps
    found, parts = np.empty((len(rows), BUCKETS)), []
    for first in range(0, len(rows), TOGETHER):
        part = slice(first, min(first + TOGETHER, len(rows)))
        x0, denoise, pairs = told.x0(part), told.denoiser(part), told.pairs(part, seed)
        parts.append(x0.double().cpu().numpy())
        for bucket, t in enumerate(times.tolist()):
            eps = noise(pairs, x0.shape[1:], Stream.HELD_OUT, bucket).to(x0)
            error = (denoise(model.diffusion.noisy(x0, t, eps), t) - x0).double().square().flatten(1).mean(1)
            if not error.isfinite().all():
                raise DivergedError(f"at t = {t:.5f} the network put out a number that is NaN or infinite")
            found[part, bucket] = error.cpu().numpy()
            if progress:
                progress(first * BUCKETS + (bucket + 1) * len(x0), len(rows) * BUCKETS)
    variance = np.concatenate(parts).var(0).mean()
    told_intervals = intervals(
        lambda of: {str(bucket): of[:, bucket].mean() for bucket in range(BUCKETS)},
        found,
        method="percentile",
        level=LEVEL,
        draws=200,
    )
    trivial = trivial_error(schedule, torch.from_numpy(times), float(variance))
    return LossByTime(
        errors=tuple(
            ErrorAt(float(t), told_intervals[str(bucket)], float(trivial[bucket])) for bucket, t in enumerate(times)
        ),
        pictures=RealSet.of(data, rows, chosen, training),
        told=told.told,
        model=spec.name,
        weights=spec.which_weights,
        weights_sha256=spec.weights.sha256,
        seed=seed,
    )
