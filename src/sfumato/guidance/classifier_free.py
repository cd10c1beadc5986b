"""Classifier-free guidance (Ho & Salimans 2022): away from the picture without a condition, towards the one with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.guidance.rescale import check_rescale, rescaled
from sfumato.networks.condition import Condition
from sfumato.solvers.loop import Denoiser

__all__ = ["ConditionalDenoiser", "classifier_free"]

ConditionalDenoiser = Callable[[Tensor, float, Condition], Tensor]
"""(x_t (N, …), t, what is known of each) -> x̂0 (N, …)"""


def classifier_free(
    denoise: ConditionalDenoiser,
    condition: Condition,
    negative: Condition,
    scale: float,
    rescale: float = 0.0,
    together: bool = True,
) -> Denoiser:
    """x̂0 = uncond + w·(cond - uncond), w = `scale`.

    With exact denoisers this is the denoiser of p(x_t)·(p(x_t|y)/p(x_t))^w at the noise level t (Ho & Salimans 2022,
    section 3.2; their w is one less).

    Args:
        denoise: the network.
        condition: what to go towards, for each of N pictures.
        negative: of the other half, to go away from: no label, an empty text, or another one.
        scale: w. 1 is no guidance: one plain call. 0 ignores the condition.
        rescale: φ of `rescaled`, towards the spread of cond.
        together: both halves in one call of twice the size; otherwise in two calls, which need less memory.

    Raises:
        InputError: for a negative or infinite w, a φ outside [0, 1], or conditions of different parts or shapes.
    """
    if not 0 <= scale < float("inf"):
        raise InputError(f"guidance_scale is a number from 0 (condition ignored), 1 (no guidance) upwards, not {scale}")
    check_rescale(rescale)
    both = condition.and_then(negative)
    if scale == 1 or condition.equals(negative):
        return lambda x, t: denoise(x, t, condition)

    def guided(x: Tensor, t: float) -> Tensor:
        if together:
            conditional, unconditional = denoise(torch.cat([x, x]), t, both).chunk(2)
        else:
            conditional, unconditional = denoise(x, t, condition), denoise(x, t, negative)
        return rescaled(torch.lerp(unconditional, conditional, scale), conditional, rescale)

    return guided
