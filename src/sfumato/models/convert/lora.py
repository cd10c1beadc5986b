"""LoRA: small updates of trained weights, W + (alpha/rank)·up·down (Hu et al. 2022, section 4.1), merged into ours.

Of a convolution, `down` has its kernel and `up` is 1x1 (LoCon). The files of kohya's trainer, of PEFT and of diffusers
before it differ in their names only; ours (`to_lora`) are named as kohya's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from sfumato.errors import InputError, nearest
from sfumato.models.convert.checkpoint import read_checkpoint
from sfumato.models.convert.parts import unet_rules
from sfumato.models.convert.rules import Rule, same_shape, to_ours, to_theirs
from sfumato.models.convert.unet_diffusers import NAMES as DIFFUSERS
from sfumato.models.convert.unet_openai import NAMES as COMPVIS
from sfumato.models.shipped import ADAPTER
from sfumato.networks.config import UNetConfig
from sfumato.typed import build

__all__ = [
    "HEADER",
    "Base",
    "Factors",
    "Lora",
    "lora_file",
    "merged_text",
    "merged_unet",
    "parse_lora",
    "read_lora",
]

HEADER = "sfumato_lora"  # where a file of ours says what it was learned on

DOWN = ("lora_down", "lora_A", "lora.down", "lora_linear_layer.down")
UP = ("lora_up", "lora_B", "lora.up", "lora_linear_layer.up")
FACTOR = re.compile(rf"(.+)\.({'|'.join(map(re.escape, DOWN + UP))})(?:\.default)?\.weight")
PROCESSOR = re.compile(r"(.+)\.processor\.(to_[qkv]|to_out)_lora\.(down|up)\.weight")
ALPHA = re.compile(r"(.+)\.alpha")
PREFIX = re.compile(r"(?:base_model\.model\.)?(?:(lora_te1?_|text_encoder\.)|(?:lora_unet_|unet\.)?)(.+)")
METADATA = "lora_adapter_metadata"  # where diffusers keeps what PEFT keeps in adapter_config.json


class Factors(NamedTuple):
    """The update of one layer."""

    name: str  # of the layer, in the file
    down: Tensor  # (rank, in, …)
    up: Tensor  # (out, rank, …)
    alpha: float | None  # none: the rank


@dataclass(frozen=True)
class Base:
    """The model that updates were learned on: its name, and the checksum of its weights."""

    name: str
    sha256: str


class Lora(NamedTuple):
    """Updates by flattened name of the layer: what the file names without its prefix, with _ for every dot."""

    unet: Mapping[str, Factors]
    text: Mapping[str, Factors]
    base: Base | None = None  # none: the file does not say


def lora_file(path: Path) -> Path:
    """The file that is meant: itself, or in the folder of a run that learned one. `InputError` when it has none yet."""
    if path.is_dir() and not (path / ADAPTER).is_file():
        raise InputError(f"{path} holds no {ADAPTER}: it is no run with an adapter, or has not saved one yet")
    return path / ADAPTER if path.is_dir() else path


def read_lora(path: Path) -> Lora:
    """A LoRA file in safetensors, by us, kohya's trainer, PEFT, or diffusers; or the folder of a run that made one.

    Raises:
        InputError: naming the file, and what in it is no update of this kind.
    """
    path = lora_file(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: LoRA is read from .safetensors files only")
    tensors = read_checkpoint(path)
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
    try:
        adapter = json.loads(header.get(METADATA, "{}"))
        lora = parse_lora(tensors, adapter if isinstance(adapter, dict) else {})
        return lora._replace(base=_base(header[HEADER])) if HEADER in header else lora
    except (InputError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from error


def parse_lora(tensors: Mapping[str, Tensor], adapter: Mapping[str, object] | None = None) -> Lora:
    """The updates in the tensors of a LoRA file.

    Args:
        tensors: by their names in the file.
        adapter: what diffusers writes into the header about PEFT's adapters: `unet.lora_alpha` and its like.

    Raises:
        InputError: naming the tensor that is no part of such an update.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        layer, part = _part(name)
        if part in parts.setdefault(layer, {}):
            raise InputError(f"{name}: {layer} has that part already, by another name")
        parts[layer][part] = value
    unet: dict[str, Factors] = {}
    text: dict[str, Factors] = {}
    for layer, found in parts.items():
        prefixed = PREFIX.fullmatch(layer)
        assert prefixed is not None  # it matches every name
        component, target = ("text_encoder", text) if prefixed[1] else ("unet", unet)
        target[prefixed[2].replace(".", "_")] = _factors(layer, found, _adapter_alpha(adapter or {}, component))
    return Lora(unet, text)


def merged_unet(config: UNetConfig, tensors: Mapping[str, Tensor], lora: Lora, scale: float = 1.0) -> dict[str, Tensor]:
    """Our U-Net's tensors with the updates added, `scale` times each; at 0 the same tensors.

    Layers are named as ours, as in diffusers, or as in CompVis' code.

    Raises:
        InputError: naming the first layer that this network does not have, or whose shape is another.
    """
    own = [Rule(name, (name,)) for name in tensors]
    rules = own + [rule for names in (DIFFUSERS, COMPVIS) for rule in unet_rules(config, names)]
    return _merged(tensors, lora.unet, rules, scale, "this U-Net")


def merged_text(tensors: Mapping[str, Tensor], lora: Lora, scale: float = 1.0) -> dict[str, Tensor]:
    """The tensors of transformers' CLIPTextModel, with or without `text_model.` before their names, with the updates.

    Errors as in `merged_unet`.
    """
    both = [(name.removeprefix("text_model."), f"text_model.{name.removeprefix('text_model.')}") for name in tensors]
    rules = [Rule(ours, (theirs,)) for ours, names in zip(tensors, both, strict=True) for theirs in names]
    return _merged(tensors, lora.text, rules, scale, "this text encoder")


def _base(header: str) -> Base:
    facts = json.loads(header)
    return build(Base, facts.get("base") if isinstance(facts, dict) else None, f"{HEADER} in its header: base")


def _part(name: str) -> tuple[str, str]:
    """The layer that a tensor belongs to, and whether it is its "down", "up" or "alpha"."""
    if found := FACTOR.fullmatch(name):
        return found[1], "down" if found[2] in DOWN else "up"
    if found := PROCESSOR.fullmatch(name):
        return f"{found[1]}.{found[2]}{'.0' if found[2] == 'to_out' else ''}", found[3]
    if found := ALPHA.fullmatch(name):
        return found[1], "alpha"
    raise InputError(f"{name} is no part of a LoRA that is known here (up, down, alpha of a layer)")


def _factors(layer: str, found: Mapping[str, Tensor], alpha: float | None) -> Factors:
    """The parts of one layer's update, checked against each other. `alpha` where the parts have none."""
    if set(found) - {"alpha"} != {"down", "up"}:
        raise InputError(f"{layer} has {' and '.join(sorted(found))}, but an update needs down and up")
    down, up = found["down"], found["up"]
    rank = len(down) if down.ndim > 1 else 0
    if rank == 0 or up.ndim < 2 or up.shape[1] != rank or not same_shape(up.shape, up.shape[:2]):
        raise InputError(f"{layer}: up {tuple(up.shape)} and down {tuple(down.shape)} do not fit together")
    if not all(part.isfinite().all() for part in found.values()):
        raise InputError(f"{layer} holds NaN or infinity")
    if "alpha" in found and found["alpha"].numel() != 1:
        raise InputError(f"{layer}: alpha is one number, not {tuple(found['alpha'].shape)}")
    return Factors(layer, down, up, found["alpha"].item() if "alpha" in found else alpha)


def _adapter_alpha(adapter: Mapping[str, object], component: str) -> float | None:
    if adapter.get(f"{component}.alpha_pattern") or adapter.get(f"{component}.use_dora"):
        raise InputError("an adapter with an alpha for each layer, or with DoRA, is not known here")
    alpha = adapter.get(f"{component}.lora_alpha")
    if alpha is not None and not isinstance(alpha, int | float):
        raise InputError(f"{component}.lora_alpha in its header is {alpha!r}, not a number")
    return alpha


def _merged(
    tensors: Mapping[str, Tensor], updates: Mapping[str, Factors], rules: Iterable[Rule], scale: float, what: str
) -> dict[str, Tensor]:
    if not math.isfinite(scale):
        raise InputError(f"the scale of a LoRA is a number, not {scale}")
    places = {
        theirs.removesuffix(".weight").replace(".", "_"): (rule, theirs)
        for rule in rules
        for theirs in rule.theirs
        if theirs.endswith(".weight")
    }
    result = dict(tensors)
    for layer, update in updates.items():
        if layer not in places:
            raise InputError(f"a LoRA for another model: {update.name} is no layer of {what}. {nearest(layer, places)}")
        rule, theirs = places[layer]
        parts = to_theirs(rule, result[rule.ours])
        weight, down, up = parts[theirs], update.down.float(), update.up.float()
        shape = torch.Size([up.shape[0], *down.shape[1:]])
        if not same_shape(shape, weight.shape):
            raise InputError(
                f"a LoRA for another model: {update.name} changes a weight {tuple(shape)}, but {what} has "
                f"{tuple(weight.shape)} there"
            )
        if scale:
            alpha = len(down) if update.alpha is None else update.alpha
            change = (up.flatten(1) @ down.flatten(1)).mul_(scale * alpha / len(down)).reshape(weight.shape)
            parts[theirs] = (weight.float() + change).to(weight.dtype)
            result[rule.ours] = to_ours(rule, [*parts.values()])
    return result
