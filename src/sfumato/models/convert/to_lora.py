"""An adapter of ours as a LoRA file: named as kohya's trainer does, so that other programs read it where they can."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.files import atomic_path
from sfumato.models.convert.lora import HEADER, Lora, parse_lora
from sfumato.models.convert.parts import unet_rules
from sfumato.models.convert.unet_diffusers import NAMES as DIFFUSERS
from sfumato.models.folder import write_tensors
from sfumato.models.spec import ModelSpec
from sfumato.networks.config import UNetConfig

__all__ = ["lora_of", "save_lora"]

FORMAT = 1


def lora_of(config: UNetConfig, factors: Mapping[str, Tensor], alpha: float) -> Lora:
    """What `merged_unet` adds to a U-Net of this shape. `factors`: the state of what `networks.lora.adapt` returns."""
    return parse_lora(_tensors(config, factors, alpha))


def save_lora(
    path: Path, base: ModelSpec, factors: Mapping[str, Tensor], alpha: float, facts: Mapping[str, Any]
) -> None:
    """Write an adapter, whole or not at all.

    Args:
        path: .safetensors.
        base: the model that it was learned on. Its name and the checksum of its weights go into the header.
        factors, alpha: as of `lora_of`.
        facts: plain values for the header.

    Raises:
        OSError: when it cannot be written.
    """
    assert base.weights is not None  # it was loaded
    told = {"format": FORMAT, "base": {"name": base.name, "sha256": base.weights.sha256}, **facts}
    with atomic_path(path) as temporary:
        write_tensors(_tensors(base.network, factors, alpha), temporary, {HEADER: json.dumps(told)})


def _tensors(config: UNetConfig, factors: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """As the file has them."""
    layers = list(dict.fromkeys(name.partition(".")[0] for name in factors))
    names = _names(config, layers)
    result = {}
    for layer in layers:
        for part in ("down", "up"):
            value = factors[f"{layer}.{part}.weight"]
            result[f"lora_unet_{names[layer]}.lora_{part}.weight"] = (
                value.detach().to("cpu", torch.float32).contiguous()
            )
        result[f"lora_unet_{names[layer]}.alpha"] = torch.tensor(float(alpha))
    return result


def _names(config: UNetConfig, layers: list[str]) -> dict[str, str]:
    """diffusers' names where each of the layers is one there too; else ours, all of them."""
    theirs = {_flat(rule.ours): [_flat(name) for name in rule.theirs] for rule in unet_rules(config, DIFFUSERS)}
    if all(len(theirs[layer]) == 1 for layer in layers):
        return {layer: theirs[layer][0] for layer in layers}
    return {layer: layer for layer in layers}


def _flat(name: str) -> str:
    """Of a tensor's name, its layer's with _ for every dot."""
    return name.removesuffix(".weight").replace(".", "_")
