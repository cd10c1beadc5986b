"""Thresholding: x̂0 held within [-1, 1], the range of pictures. A number that is not finite is never hidden."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.solvers.loop import Denoiser

__all__ = ["check_percentile", "clip", "clipped", "dynamically_thresholded"]


def clipped(denoise: Denoiser) -> Denoiser:
    """Static thresholding: every value of x̂0 is cut at -1 and 1 (Saharia et al. 2022, section 2.3)."""
    return lambda x, t: clip(denoise(x, t))


def clip(x0: Tensor) -> Tensor:
    """x̂0 within [-1, 1]; NaN where it is not finite."""
    return x0.clamp(-1, 1) + _zero(x0)


def check_percentile(p: float) -> float:
    """Return p; raise `InputError` unless 50 ≤ p ≤ 100."""
    if not 50 <= p <= 100:
        hint = f" A share of {p:g} is a percentile of {100 * p:g}." if 0.5 <= p <= 1 else ""
        raise InputError(f"dynamic_threshold is a percentile from 50 to 100, such as 99.5, not {p}.{hint}")
    return p


def dynamically_thresholded(denoise: Denoiser, percentile: float) -> Denoiser:
    """Dynamic thresholding: x̂0 is cut at ±s and divided by s; s is the p-th percentile of its magnitudes, at least 1,
    for each picture (Saharia et al. 2022, "Photorealistic text-to-image diffusion models …" (Imagen), section 2.3).

    So a picture whose values all lie in [-1, 1] stays, and one that guidance has driven out of it loses contrast
    instead of detail. The percentile is over all channels and pixels, interpolated linearly between two values.

    Args:
        denoise: what to hold within the range.
        percentile: p from 50 to 100, such as 99.5; 100 only divides. Below half it would cut more than it keeps.

    Raises:
        InputError: for a p out of range.
    """
    check_percentile(percentile)

    def thresholded(x: Tensor, t: float) -> Tensor:
        x0 = denoise(x, t)
        ordered = x0.abs().flatten(1).sort(dim=1).values  # (torch.quantile refuses large pictures)
        position = percentile / 100 * (ordered.shape[1] - 1)
        below, above = math.floor(position), math.ceil(position)
        at = torch.lerp(ordered[:, below], ordered[:, above], position - below)
        s = at.clamp(min=1).reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-s, s) / s + _zero(x0)

    return thresholded


def _zero(x0: Tensor) -> Tensor:
    """Zeros, but NaN where x̂0 is not finite, which clamping alone would hide."""
    return x0 - x0
