"""Mean and spread of an autoencoder's latents, so that a diffusion model is given mean 0 and variance 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.scaling import to_unit

__all__ = ["measured"]


@torch.no_grad()
def measured(network: Autoencoder, pictures: np.ndarray, batch: int = 64) -> AutoencoderConfig:
    """The network's shape with latent_shift and latent_scale for each channel.

    They are of draws z ~ q(z|x): by the law of total variance E[z] = E[μ] and Var[z] = E[μ² + σ²] - E[μ]², so that
    nothing need be drawn. For each channel of its own, as in EDM2 (Karras et al. 2024): a noise schedule is meant for
    one signal-to-noise ratio, and the channels' spreads differ.

    Args:
        network: the autoencoder; its own shift and scale play no part.
        pictures: uint8 (N, H, W, C).
        batch: pictures at once.
    """
    device, count = next(network.parameters()).device, 0
    first, second = (torch.zeros(network.config.latent_channels, dtype=torch.float64) for _ in range(2))
    for start in range(0, len(pictures), batch):
        posterior = network.encode(to_unit(pictures[start : start + batch]).to(device))
        mean, variance = posterior.mean.cpu().double(), posterior.log_variance.cpu().double().exp()
        first += mean.sum((0, 2, 3))
        second += (mean.square() + variance).sum((0, 2, 3))
        count += mean[:, 0].numel()
    shift = first / count
    scale = (second / count - shift.square()).rsqrt()
    return replace(network.config, latent_shift=tuple(shift.tolist()), latent_scale=tuple(scale.tolist()))
