"""Where the picture is known: x̂0 is what it is, and only the rest is the network's to say."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.solvers.loop import Denoiser

__all__ = ["held"]


def held(denoise: Denoiser, known: Tensor, new: Tensor) -> Denoiser:
    """x̂0 where `new`, the known picture elsewhere (the "replacement method": Song et al. 2021b, appendix I.2; Lugmayr
    et al. 2022, eq. 8).

    In the papers the known part of x_t is replaced by α_t·known + σ_t·ε. Replacing x̂0 does that by itself: where x̂0
    is `known` at every step, a solver walks along the forward process of `known`. A deterministic one keeps the noise
    that it started with, x_t = α_t·known + σ_t·ε; an ancestral one draws from q(x_s | x_t, known), so that the known
    parts of all x_t together are one draw of the forward process, as Trippe et al. 2023 have it. So the noise is a
    function of seed and step, as everywhere, and the loop knows nothing of it. The start must be α_t·known + σ_t·ε too.

    What is new is made to fit x_t of the known part, not the known part itself: as a draw of p(new | known) it is exact
    where the two are independent, and otherwise the nearer the more it is resampled at low noise
    (`solvers.resampling`).

    Args:
        denoise: what to hold.
        known: (N or 1, C, H, W) the picture, as the network sees it.
        new: (N or 1, 1 or C, H, W) bool, true where the picture is to be made.
    """
    return lambda x, t: torch.where(new, denoise(x, t), known)
