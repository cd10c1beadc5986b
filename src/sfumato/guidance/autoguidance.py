"""Autoguidance (Karras et al. 2024, "Guiding a diffusion model with a bad version of itself")."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.guidance.rescale import check_rescale, rescaled
from sfumato.solvers.loop import Denoiser

__all__ = ["autoguidance"]


def autoguidance(strong: Denoiser, weak: Denoiser, scale: float, rescale: float = 0.0) -> Denoiser:
    """x̂0 = weak + w·(strong - weak), w = `scale`: away from what a weaker model of the same data gets wrong.

    Karras et al. 2024, section 4: both models see the same condition, so that the guidance points towards quality and
    not towards a class; labels are not needed at all. Each model is called once.

    Args:
        strong, weak: the model, and one with less capacity or less training, on the same noise schedule.
        scale: w. 1 is no guidance: the strong model alone, and the weak one is not called.
        rescale: φ of `rescaled`, towards the spread of the strong one's x̂0.

    Raises:
        InputError: for a negative or infinite w, or a φ outside [0, 1].
    """
    if not 0 <= scale < float("inf"):
        raise InputError(f"guidance_scale is a number from 0 (the weaker model), 1 (no guidance) upwards, not {scale}")
    check_rescale(rescale)
    if scale == 1:
        return strong

    def guided(x: Tensor, t: float) -> Tensor:
        stronger = strong(x, t)
        return rescaled(torch.lerp(weak(x, t), stronger, scale), stronger, rescale)

    return guided
