"""A KL autoencoder as a folder: autoencoder.json, weights.safetensors, README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.models.folder import read_folder, write_folder
from sfumato.models.spec import FORMAT, WeightFacts
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig

__all__ = [
    "DESCRIPTION",
    "AutoencoderSpec",
    "Reconstruction",
    "autoencoder_card",
    "load_autoencoder_folder",
    "reconstruction_table",
    "save_autoencoder_folder",
]

DESCRIPTION = "autoencoder.json"


@dataclass(frozen=True)
class Reconstruction:
    """How much of some pictures is left after encoding (to the mode) and decoding."""

    pictures: str  # which: "kept back", "learned from", "given"
    count: int
    psnr: float | None  # dB, of the mean squared error over all of them; none: not one value differs
    ssim: float | None  # mean; none: pictures smaller than its window
    fd: float | None  # FD-EffNetLite0; none: its extra is not installed, or there is one picture only
    kl_nats: float  # of the posterior to N(0, 1), mean over the pictures
    kl_bits: float


@dataclass(frozen=True)
class AutoencoderSpec:
    """An autoencoder without its weights.

    Attributes:
        name: short name.
        network: its shape, and how its latents are shifted and scaled.
        size: (height, width) it was trained at.
        reconstruction: how well it does, on pictures that training kept back and on those it learned from.
        training, data, licence, weights: as in `ModelSpec`.
    """

    name: str
    network: AutoencoderConfig
    size: tuple[int, int]
    reconstruction: tuple[Reconstruction, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    weights: WeightFacts | None = None

    def __post_init__(self) -> None:
        self.network.check_size(*self.size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"format": FORMAT, **asdict(self)}


def save_autoencoder_folder(
    folder: Path, spec: AutoencoderSpec, tensors: Mapping[str, Tensor], which: str = "average"
) -> AutoencoderSpec:
    """Write an autoencoder's folder, whole or not at all; see `save_folder`. `which` weights: "average" or "raw"."""
    return write_folder(folder, DESCRIPTION, spec, autoencoder_card, tensors, which, torch.float32)


def load_autoencoder_folder(folder: Path) -> tuple[AutoencoderSpec, Autoencoder]:
    """Read an autoencoder's folder, or that of the run that made it.

    The network is in evaluation mode, on the CPU. Errors as in `load_folder`.
    """
    if not folder.is_dir():
        raise InputError(
            f"no autoencoder {str(folder)!r}: there is no such folder. To make one: sfumato train-autoencoder"
        )
    if (folder / "model").is_dir():
        folder = folder / "model"
    elif (folder / "config.json").is_file():
        raise InputError(
            f"the run in {folder} has no autoencoder yet. Go on with: sfumato train-autoencoder --out {folder} --resume"
        )
    spec, stored = read_folder(folder, DESCRIPTION, AutoencoderSpec)
    try:
        return spec, Autoencoder.from_tensors(spec.network, stored)
    except InputError as error:
        raise InputError(f"{folder / 'weights.safetensors'}: {error}") from error


def reconstruction_table(rows: tuple[Reconstruction, ...]) -> list[str]:
    """Reports of reconstructions as the lines of a Markdown table."""

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    cells = [
        ["pictures", "n", "PSNR dB", "SSIM", "FD-EffNetLite0", "KL nats", "KL bits"],
        ["---"] * 7,
        *([r.pictures, f"{r.count:,}", *map(shown, (r.psnr, r.ssim, r.fd, r.kl_nats, r.kl_bits))] for r in rows),
    ]
    return [f"| {' | '.join(row)} |" for row in cells]


def autoencoder_card(spec: AutoencoderSpec) -> str:
    """The README.md of an autoencoder's folder: what it is, and how well it does."""
    net, (height, width) = spec.network, spec.size
    latent = f"{net.latent_channels}x{height // net.factor}x{width // net.factor}"
    weights = spec.weights
    rows = spec.reconstruction
    table = reconstruction_table(rows) if rows else ["It was not measured how well it does."]
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            f"A KL autoencoder for {width}x{height} pictures with {net.in_channels} channels, whose latents are "
            f"{latent}, made with [sfumato](https://pypi.org/project/sfumato/).",
            "",
            "```python",
            "import sfumato as sf",
            "",
            'codec = sf.load_autoencoder("path/to/this/folder")',
            "latents = codec.encode(pictures)  # uint8 (N, H, W, C); of mean 0 and variance 1, for a diffusion model",
            "images = codec.decode(latents)",
            "```",
            "",
            f"- network: {weights.parameters if weights else 0:,} parameters, levels {list(net.widths)}, "
            f"factor {net.factor}",
            f"- weights: {weights.which if weights else 'unsaved'}, "
            f"stored as {weights.dtype if weights else 'nothing'}",
            f"- data: {spec.data.get('name', 'unknown')}, fingerprint {spec.data.get('fingerprint', 'unknown')}",
            *(f"- {key.replace('_', ' ')}: {value}" for key, value in spec.training.items()),
            "",
            *table,
            "",
            "PSNR is of the mean squared error over all pictures; KL is of the posterior to N(0, 1), a picture.",
            "",
            f"Weights: {spec.licence}.",
            "",
        ]
    )
