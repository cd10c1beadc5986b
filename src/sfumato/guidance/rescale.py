"""Guidance rescale (Lin et al. 2024): a high guidance scale raises the contrast; this brings it back."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["check_rescale", "rescaled"]


def check_rescale(phi: float) -> float:
    """Return φ; raise `InputError` unless it lies in [0, 1]."""
    if not 0 <= phi <= 1:
        raise InputError(f"guidance_rescale lies between 0 (none) and 1 (the spread before guidance), not {phi}")
    return phi


def rescaled(guided: Tensor, conditional: Tensor, phi: float) -> Tensor:
    """φ·guided·std(conditional)/std(guided) + (1 - φ)·guided: Lin et al. 2024 ("Common diffusion noise schedules and
    sample steps are flawed"), eq. 15 and 16, on x̂0.

    The paper does this to the network's own output. For an x0 prediction that is the same, and for v it is the same at
    t = 1 with zero terminal SNR, where x̂0 = -v. Elsewhere v and eps hold a share of x_t, whose spread enters the
    paper's ratio and not this one. On x̂0 it means one thing for every prediction: the contrast of the picture.

    Args:
        guided, conditional: (N, …) x̂0 with guidance, and what it was guided from.
        phi: φ in [0, 1]; 0 returns `guided` itself. The paper's choice is 0.7.

    Returns:
        (N, …). The standard deviation is taken over all values of a picture; the mean is scaled with the rest, as in
        the paper. A guided picture that is flat has no contrast to scale and stays.
    """
    if phi == 0:
        return guided
    wanted, found = (x.flatten(1).std(dim=1) for x in (conditional, guided))
    factor = torch.where(found == 0, 1.0, wanted / found)
    return guided * (phi * factor + (1 - phi)).reshape(-1, *[1] * (guided.ndim - 1))
