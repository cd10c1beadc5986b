"""What the training of an autoencoder leaves: the folder with measured latents and report, and sheets to look at."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from sfumato._version import __version__
from sfumato.data.dataset import Dataset
from sfumato.evaluation.reconstruction import installed_features, measure, pairs, reconstruct, some
from sfumato.files import write_text
from sfumato.generation.autoencoder import LatentCodec
from sfumato.images import save_png
from sfumato.models.autoencoder import AutoencoderSpec, save_autoencoder_folder
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.training.autoencoder_config import TrainAutoencoderConfig
from sfumato.training.ema import Average
from sfumato.training.held_out import split
from sfumato.training.latent_scale import measured

__all__ = ["finish", "parts_of", "preview"]

MEASURED = 10_000  # pictures whose latents are measured, at most


def preview(
    shape: AutoencoderConfig, average: Average, config: TrainAutoencoderConfig, held: Dataset, path: Path
) -> np.ndarray:
    """Save a sheet of pictures kept back above what the averaged weights make of them; return it, uint8 (H, W, C)."""
    device = next(iter(average.values.values())).device
    codec = _codec(shape, average, config, device)
    originals = some(held, 48)
    sheet = pairs(originals, reconstruct(codec, originals)[0])
    save_png(path, sheet, {"Description": "originals above reconstructions"})
    return sheet


def finish(
    shape: AutoencoderConfig,
    average: Average,
    config: TrainAutoencoderConfig,
    data: Dataset,
    kept: Dataset,
    held: Dataset,
    device: torch.device,
) -> Path:
    """Measure latents and reconstructions with the averaged weights, and write OUT/model, report.json and pairs.png.

    Returns OUT/model.
    """
    codec = _codec(shape, average, config, device)
    codec = _codec(measured(codec.network, some(kept, MEASURED)), average, config, device)
    features = installed_features(str(device))
    unseen, made = measure(codec, originals := some(held), "kept back", features)
    seen, _ = measure(codec, some(kept, len(originals)), "learned from", features)
    height, width, _ = data.shape
    spec = AutoencoderSpec(
        name=f"{data.name} autoencoder",
        network=codec.network.config,
        size=(height, width),
        reconstruction=(unseen, seen),
        training=_facts(config),
        data={
            "name": data.name,
            "count": len(kept),
            "fingerprint": data.fingerprint,
            "source": data.source,
            "licence": data.licence,
        },
        licence="that of its training data; decide before you publish it",
    )
    save_autoencoder_folder(config.out / "model", spec, average.values)
    report = [asdict(row) for row in spec.reconstruction]
    write_text(config.out / "report.json", json.dumps(report, indent=1) + "\n")
    save_png(config.out / "pairs.png", pairs(originals, made), {"Description": "originals above reconstructions"})
    return config.out / "model"


def parts_of(data: Dataset, spec: AutoencoderSpec) -> dict[str, Dataset]:
    """What training kept back and what it learned from, where this is the data of its training; else all as "given"."""
    share, seed = spec.training.get("held_out"), spec.training.get("seed")
    if data.fingerprint != spec.data.get("fingerprint") or not isinstance(share, float) or not isinstance(seed, int):
        return {"given": data}
    kept, held = split(data, share, seed, labelled=False)
    return {"kept back": held, "learned from": kept}


def _codec(
    shape: AutoencoderConfig, average: Average, config: TrainAutoencoderConfig, device: torch.device
) -> LatentCodec:
    tensors = {name: value.clone() for name, value in average.values.items()}
    spec = AutoencoderSpec("in training", shape, config.picture_size)
    return LatentCodec(spec, Autoencoder.from_tensors(shape, tensors), device)


def _facts(config: TrainAutoencoderConfig) -> dict[str, object]:
    names = ("pictures", "batch", "seed", "held_out", "lr", "l1", "l2", "perceptual", "kl_weight", "adversarial")
    return {**{name: getattr(config, name) for name in names}, "sfumato": __version__, "torch": torch.__version__}
