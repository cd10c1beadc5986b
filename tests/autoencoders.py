"""A tiny autoencoder to test with, and a tiny run that makes one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from sfumato.generation.autoencoder import LatentCodec
from sfumato.models.autoencoder import AutoencoderSpec, Reconstruction
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.training.autoencoder_config import TrainAutoencoderConfig

SHAPE = AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, groups=4, mid_attention=False)


def codec(**changes) -> LatentCodec:
    """An autoencoder of random weights."""
    base = AutoencoderSpec(
        name="tiny autoencoder",
        network=replace(SHAPE, latent_shift=(0.5, 0.0, -1.0, 2.0), latent_scale=(2.0, 1.0, 0.5, 3.0)),
        size=(16, 16),
        reconstruction=(
            Reconstruction("kept back", 2, 23.456789, 0.75, 12.0, 100.0, 144.3),
            Reconstruction("learned from", 2, None, None, None, 100.0, 144.3),
        ),
        training={"seed": 0, "held_out": 0.25},
    )
    spec = replace(base, **changes)
    net, generator = Autoencoder(spec.network), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    return LatentCodec(spec, net.eval().requires_grad_(False))


def config(data: Path | str, out: Path, **changes) -> TrainAutoencoderConfig:
    small = {
        "size": 16,
        "pictures": 40,
        "batch": 4,
        "held_out": 0.25,
        "network": SHAPE,
        "warmup": 8,
        "ema_halflife": 16,
        "log_every": 8,
        "checkpoint_every": 12,
        "sample_every": 0,
        "device": "cpu",
        "threads": 1,
    }
    return TrainAutoencoderConfig(data=str(data), out=out, **{**small, **changes})
