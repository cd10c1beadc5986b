"""Autoencoders of other libraries' making: diffusers' AutoencoderKL, and CompVis' latent-diffusion and its kin.

Only names and shapes differ; no number is changed. Our attention holds query, key and value as one 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.models.foreign_autoencoder import config_from_diffusers, config_to_diffusers, shape_of_compvis
from sfumato.networks.autoencoder_config import AutoencoderConfig, Part

__all__ = ["autoencoder_from_compvis", "autoencoder_from_diffusers", "autoencoder_to_diffusers"]

COMPVIS_PREFIX = "first_stage_model."
SCALE = 0.18215  # Stable Diffusion 1 and 2
_WB = ("weight", "bias")


@dataclass(frozen=True)
class _Names:
    """How a library calls what lies inside. `{level}` counts from the finest, `{rank}` from the coarsest."""

    down: Mapping[str, str]  # kind of part -> its name
    up: Mapping[str, str]
    middle: Mapping[str, tuple[str, ...]]  # kind of part -> the names of the first, the second
    shortcut: str
    attention: tuple[str, str, str, str, str]  # norm, query, key, value, output
    norm_out: str


DIFFUSERS = _Names(
    down={
        "block": "down_blocks.{level}.resnets.{index}",
        "attention": "down_blocks.{level}.attentions.{index}",
        "resample": "down_blocks.{level}.downsamplers.0.conv",
    },
    up={
        "block": "up_blocks.{rank}.resnets.{index}",
        "attention": "up_blocks.{rank}.attentions.{index}",
        "resample": "up_blocks.{rank}.upsamplers.0.conv",
    },
    middle={"block": ("mid_block.resnets.0", "mid_block.resnets.1"), "attention": ("mid_block.attentions.0",)},
    shortcut="conv_shortcut",
    attention=("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
    norm_out="conv_norm_out",
)
COMPVIS = _Names(
    down={
        "block": "down.{level}.block.{index}",
        "attention": "down.{level}.attn.{index}",
        "resample": "down.{level}.downsample.conv",
    },
    up={
        "block": "up.{level}.block.{index}",
        "attention": "up.{level}.attn.{index}",
        "resample": "up.{level}.upsample.conv",
    },
    middle={"block": ("mid.block_1", "mid.block_2"), "attention": ("mid.attn_1",)},
    shortcut="nin_shortcut",
    attention=("norm", "q", "k", "v", "proj_out"),
    norm_out="norm_out",
)
# diffusers before 0.12, still in most stored autoencoders
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class _Entry(NamedTuple):
    own: str
    foreign: tuple[str, ...]  # one tensor, or query, key and value, which we hold as one
    matrix: bool = False  # a 1x1 convolution here that elsewhere may be a matrix


def autoencoder_from_diffusers(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[AutoencoderConfig, dict[str, Tensor]]:
    """An autoencoder from diffusers' AutoencoderKL.

    Args:
        tensors: its diffusion_pytorch_model.safetensors, with attention in the new or the old style of names.
        config: its config.json.

    Returns:
        What `Autoencoder.from_tensors` takes.

    Raises:
        InputError: for missing or unknown tensors, and for a config that says what this autoencoder cannot be.
    """
    shape = config_from_diffusers(config)
    return shape, _translate(_new_attention(tensors), _entries(shape, DIFFUSERS), "diffusers' AutoencoderKL")


def autoencoder_to_diffusers(
    config: AutoencoderConfig, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse: tensors and config.json of an AutoencoderKL, with the new names of attention.

    Raises:
        InputError: when tensors are missing or unknown.
    """
    result, left = {}, dict(tensors)
    for entry in _entries(config, DIFFUSERS):
        if entry.own not in left:
            raise InputError(f"{entry.own} is missing")
        value = left.pop(entry.own)
        value = value.flatten(1) if entry.matrix else value
        for name, piece in zip(entry.foreign, value.chunk(len(entry.foreign)), strict=True):
            result[name] = piece.contiguous()
    if left:
        raise InputError(f"there is no place for {min(left)} ({len(left)} such tensors)")
    return result, config_to_diffusers(config)


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
        What `Autoencoder.from_tensors` takes.

    Raises:
        InputError: for missing or unknown tensors.
    """
    inner = {k.removeprefix(COMPVIS_PREFIX): v for k, v in tensors.items() if k.startswith(COMPVIS_PREFIX)} or tensors
    inner = {name: value for name, value in inner.items() if not name.startswith("loss.")}
    shape = shape_of_compvis(inner, scale)
    return shape, _translate(inner, _entries(shape, COMPVIS), "CompVis' autoencoder")


def _entries(config: AutoencoderConfig, names: _Names) -> list[_Entry]:
    """Every tensor of an autoencoder of this shape: its name here and there."""
    entries = [_Entry(f"{half}.enter.{p}", (f"{half}.conv_in.{p}",)) for half in ("encoder", "decoder") for p in _WB]
    ways = [
        ("encoder.down", "encoder", config.down_parts(), names.down),
        ("decoder.up", "decoder", config.up_parts(), names.up),
    ]
    for own, half, parts, words in ways:
        for i, part in enumerate(parts):
            rank = len(config.multipliers) - 1 - part.level
            foreign = words[part.kind].format(level=part.level, rank=rank, index=part.number)
            entries += _part(part, f"{own}.{i}", f"{half}.{foreign}", names)
    for half in ("encoder", "decoder"):
        for i, part in enumerate(config.middle_parts()):
            foreign = names.middle[part.kind][part.number]
            entries += _part(part, f"{half}.middle.{i}", f"{half}.{foreign}", names)
        for own, foreign in (("leave.0", names.norm_out), ("leave.2", "conv_out")):
            entries += [_Entry(f"{half}.{own}.{p}", (f"{half}.{foreign}.{p}",)) for p in _WB]
    if config.quant_conv:
        entries += [_Entry(f"{name}.{p}", (f"{name}_conv.{p}",)) for name in ("quant", "post_quant") for p in _WB]
    return entries


def _part(part: Part, own: str, foreign: str, names: _Names) -> list[_Entry]:
    if part.kind == "resample":
        return [_Entry(f"{own}.conv.{p}", (f"{foreign}.{p}",)) for p in _WB]
    if part.kind == "block":
        inner = {name: name for name in ("norm1", "conv1", "norm2", "conv2")}
        if part.channels_in != part.channels_out:
            inner["skip"] = names.shortcut
        return [_Entry(f"{own}.{a}.{p}", (f"{foreign}.{b}.{p}",)) for a, b in inner.items() for p in _WB]
    norm, *qkv, out = (f"{foreign}.{name}" for name in names.attention)
    return [
        entry
        for p in _WB
        for entry in (
            _Entry(f"{own}.norm.{p}", (f"{norm}.{p}",)),
            _Entry(f"{own}.qkv.{p}", tuple(f"{name}.{p}" for name in qkv), matrix=p == "weight"),
            _Entry(f"{own}.out.{p}", (f"{out}.{p}",), matrix=p == "weight"),
        )
    ]


def _translate(tensors: Mapping[str, Tensor], entries: Sequence[_Entry], what: str) -> dict[str, Tensor]:
    """Foreign names to own ones; every tensor must have its place, and every place its tensor."""
    expected = {name for entry in entries for name in entry.foreign}
    missing, surplus = sorted(expected - set(tensors)), sorted(set(tensors) - expected)
    if missing or surplus:
        first = f"{missing[0]} is missing" if missing else f"there is no place for {surplus[0]}"
        raise InputError(f"{what}: {first} ({len(missing)} tensors missing, {len(surplus)} too many)")
    result = {}
    for entry in entries:
        values = [tensors[name] for name in entry.foreign]
        if any(value.shape != values[0].shape for value in values):
            raise InputError(f"{what}: {', '.join(entry.foreign)} differ in shape")
        if entry.matrix:
            values = [value.reshape(*value.shape[:2], 1, 1) if value.ndim == 2 else value for value in values]
        result[entry.own] = torch.cat(values) if len(values) > 1 else values[0]
    return result


def _new_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' tensors, with the old names of attention replaced by the new ones."""
    result = {}
    for name, value in tensors.items():
        head, _, last = name.rpartition(".")
        before, _, layer = head.rpartition(".")
        new = f"{before}.{OLD_ATTENTION[layer]}.{last}" if layer in OLD_ATTENTION else name
        if new in result:
            raise InputError(f"diffusers' AutoencoderKL: {new} is there twice, by its old and by its new name")
        result[new] = value
    return result
