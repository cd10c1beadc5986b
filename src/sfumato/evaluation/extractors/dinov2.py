"""DINOv2's features (Oquab et al. 2023): of a network that was trained without labels, from a folder of the user's."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from sfumato.errors import InputError
from sfumato.evaluation.extractors.batches import in_batches
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.extractors.preprocessing import IMAGENET, Preprocessing
from sfumato.models.pretrained import read_network, weights_checksum

__all__ = ["dinov2"]

SIDE = 224
PREPARE = Preprocessing((SIDE, SIDE), *IMAGENET)


def dinov2(folder: Path, device: str = "cpu") -> Extractor:
    """The last layer's CLS token after the final normalisation.

    Args:
        folder: of config.json and model.safetensors, as `transformers` saves a `Dinov2Model` of any size.
        device: where it works.

    Raises:
        InputError: when the extra `text` (it has `transformers`) is not installed, or the folder does not hold a whole
            DINOv2.
    """
    checksum = weights_checksum(folder, "DINOv2")
    network = read_network("Dinov2Model", folder, "DINOv2", types=("dinov2",)).to(device)
    config = network.config
    if SIDE % config.patch_size:
        raise InputError(f"{folder}: its patches of {config.patch_size} pixels do not divide pictures of {SIDE}")

    def embed(x: Tensor) -> Tensor:
        return network(PREPARE(x)).last_hidden_state[:, 0]

    return Extractor(
        name=f"DINOv2-{config.hidden_size}x{config.num_hidden_layers}/{config.patch_size}",
        sha256=checksum,
        preprocessing=str(PREPARE),
        width=config.hidden_size,
        features=in_batches(embed, device),
        settings=config.to_json_string(),
    )
