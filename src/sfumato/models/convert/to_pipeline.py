"""A model of ours as a folder that diffusers' pipelines read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.files import replace_folder
from sfumato.models.convert.autoencoder import autoencoder_to_diffusers
from sfumato.models.convert.pipeline import STEM
from sfumato.models.convert.schedule import schedule_to_diffusers
from sfumato.models.convert.step_index import told_the_index
from sfumato.models.convert.unet_diffusers import unet_to_diffusers
from sfumato.models.folder import write_tensors
from sfumato.models.parts import ENCODER_FILES, Parts
from sfumato.models.spec import ModelSpec

__all__ = ["to_pipeline"]

LAYOUT = "0.35.0"  # the version of diffusers whose layout this is
INPAINTING = 9  # channels: latents, a mask, latents around it


def to_pipeline(
    out: Path, spec: ModelSpec, tensors: Mapping[str, Tensor], parts: Parts, dtype: torch.dtype = torch.float32
) -> str:
    """Write a folder for `DiffusionPipeline.from_pretrained`, whole or not at all.

    Args:
        out: a new or empty folder, or one that diffusers' model_index.json shows to be such a pipeline already.
        spec, tensors: the model. One that is told 1000·t is changed into one that is told the index of the step.
        parts: its autoencoder and text encoder.
        dtype: of the stored numbers, but for the text encoder's, whose files are copied.

    Returns:
        The name of the pipeline.

    Raises:
        InputError: naming what diffusers has no place for.
    """
    if out.exists() and not (out.is_dir() and ((out / "model_index.json").is_file() or not any(out.iterdir()))):
        raise InputError(f"{out} is there already, and is no pipeline of diffusers. Choose a new or empty folder.")
    if spec.self_conditioning:
        raise InputError("diffusers has no pipeline for a network that sees its own last x̂0 (self-conditioning)")
    config, state = told_the_index(spec.network, tensors, spec.schedule.steps)
    unet, unet_state = unet_to_diffusers(config, state)
    factor = spec.autoencoder.factor if spec.autoencoder else 1
    height, width = (side // factor for side in spec.size)
    unet["sample_size"] = height if height == width else [height, width]
    scheduler = schedule_to_diffusers(spec.schedule, spec.prediction)
    pipeline, index = _index(spec, parts)
    with replace_folder(out) as new:
        _write_json(new / "model_index.json", index)
        (new / "scheduler").mkdir()
        _write_json(new / "scheduler" / "scheduler_config.json", scheduler)
        _write_network(new / "unet", unet, unet_state, dtype)
        if spec.autoencoder is not None and parts.autoencoder is not None:
            vae_state, vae = autoencoder_to_diffusers(spec.autoencoder, parts.autoencoder)
            _write_network(new / "vae", {"_class_name": "AutoencoderKL", **vae}, vae_state, dtype)
        if parts.text is not None:
            _copy_text(parts.text, new)
    return pipeline


def _index(spec: ModelSpec, parts: Parts) -> tuple[str, dict[str, Any]]:
    """The pipeline's name, and its model_index.json."""
    index: dict[str, Any] = {"_diffusers_version": LAYOUT, "scheduler": ["diffusers", "DDIMScheduler"]}
    if spec.text is None:
        if spec.autoencoder is not None:
            raise InputError("diffusers has no pipeline for latents of such an autoencoder without text")
        index["unet"] = ["diffusers", "UNet2DModel"]
        return "DDIMPipeline", {"_class_name": "DDIMPipeline", **index}
    if spec.text.encoder != "clip" or spec.autoencoder is None or parts.text is None:
        lacks = f"the text encoder {spec.text.encoder!r}" if spec.text.encoder != "clip" else "text without latents"
        raise InputError(f"diffusers' Stable Diffusion has no place for {lacks}")
    inpainting = spec.network.in_channels == INPAINTING
    name = "StableDiffusionInpaintPipeline" if inpainting else "StableDiffusionPipeline"
    index |= {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        **{part: [None, None] for part in ("safety_checker", "feature_extractor", "image_encoder")},
        "requires_safety_checker": False,
    }
    return name, {"_class_name": name, **index}


def _write_network(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    folder.mkdir()
    _write_json(folder / "config.json", config)
    write_tensors({name: value.to(dtype) for name, value in tensors.items()}, folder / f"{STEM}.safetensors")


def _copy_text(source: Path, new: Path) -> None:
    """The encoder's files to text_encoder/, all others to tokenizer/."""
    for part in ("text_encoder", "tokenizer"):
        (new / part).mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix in ENCODER_FILES:
            weights = path.suffix == ".safetensors" or path.name == "config.json"
            shutil.copyfile(path, new / ("text_encoder" if weights else "tokenizer") / path.name)


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
