"""CLIP's picture tower (Radford et al. 2021) from a folder of the user's. Only with one of them is MMD called CMMD."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from sfumato.evaluation.extractors.batches import in_batches
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.extractors.preprocessing import Preprocessing
from sfumato.evaluation.names import CLIP
from sfumato.files import sha256_of
from sfumato.models.pretrained import read_network, weights_checksum

__all__ = ["clip"]

log = logging.getLogger("sfumato")

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# of openai/clip-vit-large-patch14-336 on the hub: its one file of weights is a pickle
SOURCE, FILE = "openai/clip-vit-large-patch14-336", "pytorch_model.bin"
SHA256 = "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801"
SETTINGS = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 336,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def clip(folder: Path, device: str = "cpu") -> Extractor:
    """The embedding of pictures that CLIP compares with texts, of any length: `cmmd` makes it one.

    Pictures are resized as for CMMD (Jayasumana et al. 2024): nothing is cut off, neither pixels nor what bicubic
    interpolation makes beyond their range.

    Args:
        folder: of config.json and model.safetensors, as `transformers` saves CLIP or its picture tower; or of the files
            of openai/clip-vit-large-patch14-336, whose pytorch_model.bin is read when it is the known one.
        device: where it works.

    Raises:
        InputError: when the extra `text` (it has `transformers`) is not installed, or the folder does not hold a whole
            picture tower.
    """
    known = (folder / FILE).is_file() and sha256_of(folder / FILE) == SHA256
    checksum = SHA256 if known else weights_checksum(folder, "CLIP")
    types = ("clip", "clip_vision_model")
    network = read_network("CLIPVisionModelWithProjection", folder, "CLIP", types=types, pickled=known).to(device)
    config = network.config
    name = f"CLIP-{config.hidden_size}x{config.num_hidden_layers}/{config.patch_size}@{config.image_size}px"
    if all(getattr(config, key) == value for key, value in SETTINGS.items()):
        if known:
            name = CLIP
        else:
            log.warning(
                "%s may hold the network of CMMD, but its weights are known only as %s of %s: they go by %s",
                *(folder, FILE, SOURCE, name),
            )
    prepare = Preprocessing((config.image_size, config.image_size), MEAN, STD, clamped=False)

    def embed(x: Tensor) -> Tensor:
        return network(prepare(x)).image_embeds

    return Extractor(
        name=name,
        sha256=checksum,
        preprocessing=str(prepare),
        width=config.projection_dim,
        features=in_batches(embed, device),
        settings=config.to_json_string(),
    )
