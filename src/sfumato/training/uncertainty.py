"""EDM2's learned uncertainty: how hard each noise level is, learned beside the network (Karras et al. 2024).

    loss = L/exp(u(λ)) + u(λ),   least at u = log E[L | λ]

so that in the end every noise level contributes alike, however large its losses. u is not part of the model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sfumato.seeds import Stream, generator

__all__ = ["Uncertainty"]

FEATURES = 128
MOST_LOG_SNR = 20.0  # beyond it nothing changes; λ is infinite at pure noise


class Uncertainty(nn.Module):
    """u of the noise level: random Fourier features of c_noise = ¼·log(σ/α), and one linear layer, 0 at the start.

    Args:
        seed: of frequencies and phases.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        fresh = generator(seed, 1, Stream.WEIGHTS)
        self.register_buffer("frequencies", torch.from_numpy(2 * math.pi * fresh.standard_normal(FEATURES)).float())
        self.register_buffer("phases", torch.from_numpy(2 * math.pi * fresh.random(FEATURES)).float())
        self.layer = nn.Linear(FEATURES, 1, bias=False)
        nn.init.zeros_(self.layer.weight)

    def forward(self, log_snr: Tensor) -> Tensor:
        """(N,) log-SNR -> u (N,)."""
        c_noise = -log_snr.to(self.frequencies).clamp(-MOST_LOG_SNR, MOST_LOG_SNR) / 8
        angles = c_noise[:, None] * self.frequencies + self.phases
        return self.layer(math.sqrt(2) * angles.cos())[:, 0]
