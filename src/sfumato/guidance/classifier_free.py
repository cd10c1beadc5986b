"""Classifier-free guidance (Ho & Salimans 2022): away from the picture without a condition, towards the one with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.networks.config import NO_LABEL
from sfumato.solvers.loop import Denoiser

__all__ = ["ConditionalDenoiser", "classifier_free"]

ConditionalDenoiser = Callable[[Tensor, float, Tensor], Tensor]
"""(x_t (N, …), t, labels (N, K)) -> x̂0 (N, …)"""


def classifier_free(denoise: ConditionalDenoiser, labels: Tensor, scale: float) -> Denoiser:
    """x̂0 = uncond + w·(cond - uncond), w = `scale`. Both halves go through the network in one call of twice the size.

    w = 1 is no guidance: one plain call. w = 0 ignores the labels. Raises `InputError` for a negative or infinite w.
    """
    if not 0 <= scale < float("inf"):
        raise InputError(f"guidance_scale is a number from 0 (labels ignored), 1 (no guidance) upwards, not {scale}")
    nothing = torch.full_like(labels, NO_LABEL)
    if scale == 1 or bool((labels == NO_LABEL).all()):
        return lambda x, t: denoise(x, t, labels)
    both = torch.cat([labels, nothing])

    def guided(x: Tensor, t: float) -> Tensor:
        conditional, unconditional = denoise(torch.cat([x, x]), t, both).chunk(2)
        return torch.lerp(unconditional, conditional, scale)

    return guided
