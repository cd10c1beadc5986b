"""A model is a folder: model.json, weights.safetensors, README.md. No pickle, no class names, no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfumato.errors import InputError
from sfumato.files import replace_folder, sha256_of
from sfumato.models.card import model_card
from sfumato.models.spec import ModelSpec
from sfumato.networks.unet import UNet

__all__ = ["load_folder", "save_folder"]


def save_folder(
    folder: Path, spec: ModelSpec, tensors: Mapping[str, Tensor], which: str, dtype: torch.dtype = torch.float32
) -> ModelSpec:
    """Write a model folder, whole or not at all.

    Args:
        folder: where; an existing one is replaced.
        spec: what it is.
        tensors: the network's state.
        which: which weights these are, "average" or "raw".
        dtype: for storage: torch.float16 halves the file.

    Returns:
        The spec with the facts of the weights filled in.
    """
    with replace_folder(folder) as new:
        stored = {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}
        path = new / "weights.safetensors"
        save_file(stored, path)
        facts = {
            "which": which,
            "dtype": str(dtype).removeprefix("torch."),
            "parameters": sum(value.numel() for value in stored.values()),
            "sha256": sha256_of(path),
        }
        spec = replace(spec, weights=facts)
        (new / "model.json").write_text(json.dumps(spec.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        (new / "README.md").write_text(model_card(spec), "utf-8")
    return spec


def load_folder(folder: Path) -> tuple[ModelSpec, UNet]:
    """Read a model folder. The network is in evaluation mode, float32, on the CPU.

    Raises:
        InputError: naming the file and the cause: no such folder, a newer format, a pickle instead of safetensors,
            missing or surplus tensors, wrong shapes, weights that do not match their checksum, values not finite.
    """
    description, weights = folder / "model.json", folder / "weights.safetensors"
    if not description.is_file():
        pickles = sorted(p.name for p in folder.glob("*") if p.suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl"})
        hint = (
            f" It holds {pickles[0]}, a pickle, which can run code when opened; sfumato reads none." if pickles else ""
        )
        raise InputError(f"{folder} is no model folder: it has no model.json.{hint}")
    try:
        facts = json.loads(description.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{description} cannot be read: {error}") from error
    spec = ModelSpec.from_dict(facts, str(description))
    if not weights.is_file():
        raise InputError(f"{folder} has no weights.safetensors")
    try:
        stored = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{weights} is not a whole safetensors file: {error}") from error
    expected = spec.weights.get("sha256")
    if expected and sha256_of(weights) != expected:
        raise InputError(f"{weights} does not match the checksum in model.json: the two belong to different models")
    network = UNet(spec.network)
    _check(network.state_dict(), stored, weights)
    network.load_state_dict({name: value.float() for name, value in stored.items()})
    return spec, network.eval().requires_grad_(False)


def _check(expected: Mapping[str, Tensor], stored: Mapping[str, Tensor], where: Path) -> None:
    missing, surplus = sorted(set(expected) - set(stored)), sorted(set(stored) - set(expected))
    if missing or surplus:
        what = f"lacks {missing[0]}" if missing else f"has {surplus[0]}, which the network does not"
        raise InputError(f"{where} {what} ({len(missing)} tensors missing, {len(surplus)} too many)")
    for name, value in stored.items():
        if value.shape != expected[name].shape:
            raise InputError(f"{where}: {name} has the shape {tuple(value.shape)}, not {tuple(expected[name].shape)}")
        if not value.isfinite().all():
            raise InputError(f"{where}: {name} holds NaN or infinity")
