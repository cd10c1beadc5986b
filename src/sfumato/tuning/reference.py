"""The fine solution that a learned table is fitted to: where a model's own trajectories go when steps cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.generation.request import Request
from sfumato.solvers import Denoiser, get, steps

__all__ = ["FINE_STEPS", "Reference", "reference_of"]

FINE_STEPS = 120


@dataclass(frozen=True)
class Reference:
    """Trajectories of the probability-flow ODE of one model.

    Attributes:
        times: (M+1,) float64, falling from 1 to 0.
        states: (M+1, N, C, H, W) x at each time.
        changed: (M+1,) how much x̂0 has changed from the start to each time: RMS of its differences, summed up.
        denoise: (x, t) -> x̂0 for these N pictures.
        guidance_scale: w of it.
    """

    times: np.ndarray
    states: Tensor
    changed: np.ndarray
    denoise: Denoiser
    guidance_scale: float = 1.0

    @property
    def start(self) -> Tensor:
        return self.states[0]

    @property
    def result(self) -> Tensor:
        return self.states[-1]

    def error(self, result: Tensor) -> float:
        """Root of the mean squared difference to where the trajectories end, pictures in [-1, 1]."""
        return (result - self.result).square().mean().sqrt().item()


def reference_of(
    model: Model,
    seeds: Sequence[int],
    guidance_scale: float | None = None,
    fine_steps: int = FINE_STEPS,
    batch: int = 32,
    progress: Callable[[int], None] | None = None,
) -> Reference:
    """Solve for these seeds, with labels as they occur in the training data, by DPM-Solver++(2M) in many steps.

    `progress` is called with the number of pictures done after each batch.
    """
    text = model.spec.text
    if text is not None and not text.examples:
        raise InputError(f"model {model.spec.name!r} holds no captions to tune on: it was not trained here")
    request = Request(guidance_scale=guidance_scale)
    asked = model.ask(seeds)
    scale = model.guidance_scale(request, asked)
    table = get("dpmpp-2m", model.diffusion.schedule, fine_steps, "log-snr")
    states, changes = [], []
    for first in range(0, len(seeds), batch):
        part = slice(first, first + batch)
        path, pictures = [model.start(seeds[part])], []
        for step in steps(model.denoiser(asked[part], scale, request.clip), path[0], table):
            path.append(step.x)
            pictures.append(step.denoised)
        states.append(torch.stack(path))
        changes.append([(a - b).square().mean().item() for a, b in zip(pictures[1:], pictures[:-1], strict=True)])
        if progress:
            progress(min(first + batch, len(seeds)))
    change = np.sqrt(np.mean(changes, 0))
    return Reference(
        times=table.times,
        states=torch.cat(states, 1),
        changed=np.r_[0.0, np.cumsum(change), change.sum()],
        denoise=model.denoiser(asked, scale, request.clip),
        guidance_scale=scale,
    )
