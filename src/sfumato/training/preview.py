"""A grid of samples in the middle of a run: always the same seeds, so that one sees them grow."""

from __future__ import annotations

from pathlib import Path

from sfumato.generation.model import Model
from sfumato.generation.provenance import MARK
from sfumato.images import save_png
from sfumato.models.spec import ModelSpec
from sfumato.networks.unet import UNet
from sfumato.training.ema import Average
from sfumato.training.subject import Subject

__all__ = ["preview"]


def preview(spec: ModelSpec, subject: Subject, network: UNet, average: Average, path: Path, n: int = 25) -> None:
    """Sample seeds 0 … n-1 from the averaged weights and save the grid. The network is left as it was."""
    device = next(network.parameters()).device
    tensors = {name: value.clone() for name, value in average.values.items()}
    autoencoder = subject.latents.autoencoder if subject.latents else None
    averaged = UNet.from_tensors(network.config, tensors)
    images = Model(spec, averaged, device, None, subject.reader, autoencoder).sample(n, seed=0)
    save_png(path, images.grid(), MARK)
