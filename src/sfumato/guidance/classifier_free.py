"""Classifier-free guidance (Ho & Salimans 2022): away from the picture without a condition, towards the one with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.guidance.rescale import check_rescale, rescaled
from sfumato.networks.config import NO_LABEL
from sfumato.solvers.loop import Denoiser

__all__ = ["ConditionalDenoiser", "classifier_free"]

ConditionalDenoiser = Callable[[Tensor, float, Tensor], Tensor]
"""(x_t (N, …), t, labels (N, K)) -> x̂0 (N, …)"""


def classifier_free(
    denoise: ConditionalDenoiser, labels: Tensor, scale: float, negative: Tensor | None = None, rescale: float = 0.0
) -> Denoiser:
    """x̂0 = uncond + w·(cond - uncond), w = `scale`. Both halves go through the network in one call of twice the size.

    With exact denoisers this is the denoiser of p(x_t)·(p(x_t|y)/p(x_t))^w at the noise level t (Ho & Salimans 2022,
    section 3.2; their w is one less).

    Args:
        denoise: the network.
        labels: (N, K) what to go towards.
        scale: w. 1 is no guidance: one plain call. 0 ignores the labels.
        negative: (N, K) labels of the other half, to go away from; default: none at all (`NO_LABEL`).
        rescale: φ of `rescaled`, towards the spread of cond.

    Raises:
        InputError: for a negative or infinite w, a φ outside [0, 1], or negative labels of another shape.
    """
    if not 0 <= scale < float("inf"):
        raise InputError(f"guidance_scale is a number from 0 (labels ignored), 1 (no guidance) upwards, not {scale}")
    check_rescale(rescale)
    other = torch.full_like(labels, NO_LABEL) if negative is None else negative
    if other.shape != labels.shape:
        raise InputError(f"negative labels must have the shape {tuple(labels.shape)}, not {tuple(other.shape)}")
    if scale == 1 or torch.equal(labels, other):
        return lambda x, t: denoise(x, t, labels)
    both = torch.cat([labels, other])

    def guided(x: Tensor, t: float) -> Tensor:
        conditional, unconditional = denoise(torch.cat([x, x]), t, both).chunk(2)
        return rescaled(torch.lerp(unconditional, conditional, scale), conditional, rescale)

    return guided
