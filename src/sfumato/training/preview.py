"""A grid of samples in the middle of a run: always the same seeds, so that one sees them grow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sfumato.generation.model import Model
from sfumato.generation.provenance import MARK
from sfumato.images import Images, save_png
from sfumato.models.spec import ModelSpec
from sfumato.networks.unet import UNet
from sfumato.training.student import Student

__all__ = ["preview"]


def preview(spec: ModelSpec, student: Student, learned: Mapping[str, Tensor], path: Path, n: int = 25) -> Images:
    """Sample seeds 0 … n-1 with averaged values of what learns and save the grid; return them.

    The network is left as it was.
    """
    network, subject = student.network, student.subject
    device = next(network.parameters()).device
    autoencoder = subject.latents.autoencoder if subject.latents else None
    averaged = UNet.from_tensors(network.config, student.whole(learned))
    images = Model(spec, averaged, device, None, subject.reader, autoencoder).sample(n, seed=0)
    save_png(path, images.grid(), MARK)
    return images
