"""Autoencoders of diffusers' (AutoencoderKL) and of CompVis' making (latent-diffusion and its kin) as ours and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from sfumato.models.convert.autoencoder_config import config_from_diffusers, config_to_diffusers, shape_of_compvis
from sfumato.models.convert.diffusers_attention import attention, new_names
from sfumato.models.convert.rules import Rule, layer, layers, read, write
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig, Part
from sfumato.networks.blank import blank

__all__ = ["SCALE", "autoencoder_from_compvis", "autoencoder_from_diffusers", "autoencoder_to_diffusers"]

COMPVIS_PREFIX = "first_stage_model."
SCALE = 0.18215  # Stable Diffusion 1 and 2

Way = Literal["down", "middle", "up"]


class _Names(NamedTuple):
    """How a library calls what lies inside.

    Attributes:
        place: (way, part, its level from the coarsest) -> what the names of its tensors begin with.
        attention: (ours, theirs) -> its rules.
        shortcut: of a block whose width changes.
        norm_out: the last normalisation.
    """

    place: Callable[[Way, Part, int], str]
    attention: Callable[[str, str], list[Rule]]
    shortcut: str
    norm_out: str


def _diffusers_place(way: Way, part: Part, rank: int) -> str:
    where = {"down": f"down_blocks.{part.level}", "middle": "mid_block", "up": f"up_blocks.{rank}"}[way]
    if part.kind == "resample":
        return f"{where}.{way}samplers.0.conv"
    return f"{where}.{'resnets' if part.kind == 'block' else 'attentions'}.{part.number}"


def _compvis_place(way: Way, part: Part, rank: int) -> str:
    kind = "block" if part.kind == "block" else "attn"
    if way == "middle":
        return f"mid.{kind}_{part.number + 1}"
    where = f"{way}.{part.level}"
    return f"{where}.{way}sample.conv" if part.kind == "resample" else f"{where}.{kind}.{part.number}"


def _compvis_attention(ours: str, theirs: str) -> list[Rule]:
    return [
        *layers(ours, theirs, {"norm": "norm"}),
        *layer(f"{ours}.qkv", [f"{theirs}.{c}" for c in "qkv"]),
        *layer(f"{ours}.out", f"{theirs}.proj_out"),
    ]


DIFFUSERS = _Names(_diffusers_place, attention, "conv_shortcut", "conv_norm_out")
COMPVIS = _Names(_compvis_place, _compvis_attention, "nin_shortcut", "norm_out")


def autoencoder_from_diffusers(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[AutoencoderConfig, dict[str, Tensor]]:
    """An autoencoder from diffusers' AutoencoderKL.

    Args:
        tensors: its diffusion_pytorch_model.safetensors, with attention in the new or the old style of names.
        config: its config.json.

    Returns:
        What `Autoencoder.from_tensors` takes. No number is changed.

    Raises:
        InputError: naming a tensor that is missing, unknown, of another shape or not finite, or what the config says
            that this autoencoder cannot be.
    """
    shape, what = config_from_diffusers(config), "diffusers' AutoencoderKL"
    return shape, read(_rules(shape, DIFFUSERS), new_names(tensors, what), _shapes(shape), what)


def autoencoder_to_diffusers(
    config: AutoencoderConfig, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse: tensors and config.json of an AutoencoderKL, with the new names of attention.

    Raises:
        InputError: when tensors are missing or unknown, or AutoencoderKL has no such shape.
    """
    said = config_to_diffusers(config)
    return write(_rules(config, DIFFUSERS), tensors, "our autoencoder"), said


def autoencoder_from_compvis(
    tensors: Mapping[str, Tensor], scale: float = SCALE
) -> tuple[AutoencoderConfig, dict[str, Tensor]]:
    """An autoencoder from a checkpoint of CompVis' latent-diffusion, Stable Diffusion or their kin.

    The shape is read off the tensors. Of a whole checkpoint only what begins with "first_stage_model." is taken; what
    such a checkpoint keeps of its training's loss ("loss.…") is left out.

    Args:
        tensors: the checkpoint's.
        scale: its scale_factor, which stands in its YAML file only.

    Returns:
        What `Autoencoder.from_tensors` takes. No number is changed.

    Raises:
        InputError: naming a tensor that is missing, unknown, of another shape or not finite.
    """
    inner = {k.removeprefix(COMPVIS_PREFIX): v for k, v in tensors.items() if k.startswith(COMPVIS_PREFIX)} or tensors
    inner = {name: value for name, value in inner.items() if not name.startswith("loss.")}
    shape = shape_of_compvis(inner, scale)
    return shape, read(_rules(shape, COMPVIS), inner, _shapes(shape), "CompVis' autoencoder")


def _rules(config: AutoencoderConfig, names: _Names) -> list[Rule]:
    """The rule of every tensor of an autoencoder of this shape."""
    rules = []
    for half in ("encoder", "decoder"):
        rules += layers(half, half, {"enter": "conv_in", "leave.0": names.norm_out, "leave.2": "conv_out"})
        rules += _way(config, names, half, "middle", config.middle_parts())
    rules += _way(config, names, "encoder", "down", config.down_parts())
    rules += _way(config, names, "decoder", "up", config.up_parts())
    if config.quant_conv:
        rules += layer("quant", "quant_conv") + layer("post_quant", "post_quant_conv")
    return rules


def _way(config: AutoencoderConfig, names: _Names, half: str, way: Way, parts: list[Part]) -> list[Rule]:
    rules = []
    for i, part in enumerate(parts):
        ours, rank = f"{half}.{way}.{i}", len(config.multipliers) - 1 - part.level
        theirs = f"{half}.{names.place(way, part, rank)}"
        if part.kind == "resample":
            rules += layer(f"{ours}.conv", theirs)
        elif part.kind == "attention":
            rules += names.attention(ours, theirs)
        else:
            inner = {name: name for name in ("norm1", "conv1", "norm2", "conv2")}
            skip = {"skip": names.shortcut} if part.channels_in != part.channels_out else {}
            rules += layers(ours, theirs, inner | skip)
    return rules


def _shapes(config: AutoencoderConfig) -> dict[str, torch.Size]:
    with blank():
        return {name: value.shape for name, value in Autoencoder(config).state_dict().items()}
