"""Picture encoders of random weights, a few kilobytes each, in folders as `transformers` writes them."""

from __future__ import annotations

from pathlib import Path

import torch

from encoders import transformers

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def dinov2(folder: Path, **more):
    """Positions for 28x28 pictures, to be stretched."""
    config = transformers.Dinov2Config(**SMALL | {"image_size": 28, "patch_size": 14} | more)  # type: ignore
    return _saved(folder, transformers.Dinov2Model, config)


def clip_config(**more):
    return transformers.CLIPVisionConfig(**SMALL | {"image_size": 28, "patch_size": 14, "projection_dim": 12} | more)  # type: ignore


def clip(folder: Path, **more):
    """CLIP's picture tower by itself."""
    return _saved(folder, transformers.CLIPVisionModelWithProjection, clip_config(**more))


def whole_clip(folder: Path):
    """With its text tower."""
    text = transformers.CLIPTextConfig(**SMALL | {"vocab_size": 9, "bos_token_id": 7, "eos_token_id": 8})  # type: ignore
    config = transformers.CLIPConfig(
        vision_config=clip_config().to_dict(), text_config=text.to_dict(), projection_dim=12
    )
    return _saved(folder, transformers.CLIPModel, config)


def _saved(folder: Path, kind, config):
    torch.manual_seed(0)
    network = kind(config)
    for parameter in network.parameters():  # as they are drawn, they hardly change what passes
        parameter.data += 0.3 * torch.randn(parameter.shape)
    network.save_pretrained(folder)
    return network.eval()
