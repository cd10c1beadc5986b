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
from sfumato.models.spec import ModelSpec, WeightFacts
from sfumato.networks.unet import UNet

__all__ = ["load_folder", "save_folder", "write_tensors"]

MODEL_FILES = {"model.json", "weights.safetensors", "README.md"}


def save_folder(
    folder: Path, spec: ModelSpec, tensors: Mapping[str, Tensor], which: str, dtype: torch.dtype = torch.float32
) -> ModelSpec:
    """Write a model folder, whole or not at all.

    Args:
        folder: where; an existing model there is replaced, anything else refused with `InputError`.
        spec: what it is.
        tensors: the network's state.
        which: which weights these are, "average" or "raw".
        dtype: for storage: torch.float16 halves the file.

    Returns:
        The spec with the facts of the weights filled in.
    """
    _check_replaceable(folder)
    with replace_folder(folder) as new:
        stored = {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}
        path = new / "weights.safetensors"
        write_tensors(stored, path)
        count = sum(value.numel() for value in stored.values())
        spec = replace(spec, weights=WeightFacts(which, str(dtype).removeprefix("torch."), count, sha256_of(path)))
        (new / "model.json").write_text(json.dumps(spec.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        (new / "README.md").write_text(model_card(spec), "utf-8")
    return spec


def write_tensors(tensors: Mapping[str, Tensor], path: Path, header: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file. Its library reports a full disk by an error of its own; here it is an `OSError`."""
    try:
        save_file(dict(tensors), path, metadata=None if header is None else dict(header))
    except SafetensorError as error:
        raise OSError(str(error)) from error


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
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{description} cannot be read: {error}") from error
    spec = ModelSpec.from_dict(facts, str(description))
    assert spec.weights is not None  # from_dict sees to that
    if not weights.is_file():
        raise InputError(f"{folder} has no weights.safetensors")
    try:
        stored = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{weights} is not a whole safetensors file: {error}") from error
    if sha256_of(weights) != spec.weights.sha256:
        raise InputError(f"{weights} does not match the checksum in model.json: the two belong to different models")
    try:
        return spec, UNet.from_tensors(spec.network, stored)
    except InputError as error:
        raise InputError(f"{weights}: {error}") from error


def _check_replaceable(folder: Path) -> None:
    """Only a model folder, or nothing, is ever replaced."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; a model needs a folder")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in MODEL_FILES) if folder.is_dir() else []
    if foreign:
        raise InputError(f"{folder} holds {foreign[0]!r}, which is no part of a model. Choose a new or empty folder.")
