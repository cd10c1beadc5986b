"""A model is a folder: model.json, weights.safetensors, README.md. No pickle, no class names, no code.

A classifier is the same with classifier.json, an autoencoder with autoencoder.json, so that none is taken for another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sfumato.errors import InputError
from sfumato.files import replace_folder, sha256_of
from sfumato.models.card import model_card
from sfumato.models.parts import AUTOENCODER, NO_PARTS, TEXT, Parts, check_files, write_parts
from sfumato.models.spec import ModelSpec, Spec, WeightFacts, read_spec
from sfumato.models.tensors import StoredTensors
from sfumato.networks.unet import UNet

__all__ = [
    "check_replaceable",
    "load_folder",
    "open_folder",
    "read_description",
    "read_folder",
    "save_folder",
    "write_folder",
    "write_tensors",
]

MOST_DESCRIPTION = 16_000_000  # bytes of a model.json
# which file makes which kind of folder
DESCRIPTIONS = {"model.json": "model", "classifier.json": "classifier", "autoencoder.json": "autoencoder"}


def save_folder(
    folder: Path,
    spec: ModelSpec,
    tensors: Mapping[str, Tensor],
    which: str,
    dtype: torch.dtype = torch.float32,
    parts: Parts = NO_PARTS,
) -> ModelSpec:
    """Write a model folder, whole or not at all.

    Args:
        folder: where; an existing model there is replaced, anything else refused with `InputError`.
        spec: what it is.
        tensors: the network's state.
        which: which weights these are, "average" or "raw".
        dtype: for storage: torch.float16 halves the file.
        parts: autoencoder and text encoder, where it has them.

    Returns:
        The spec with the facts of the weights filled in.
    """
    if (parts.autoencoder is None) != (spec.autoencoder is None):
        raise InputError(f"{spec.name}: an autoencoder is a part of a latent model, and of no other")

    def more(new: Path, spec: ModelSpec) -> ModelSpec:
        return replace(spec, files=write_parts(new, parts, dtype, write_tensors))

    return write_folder(folder, "model.json", spec, model_card, tensors, which, dtype, more)


def write_folder(
    folder: Path,
    description: str,
    spec: Spec,
    card: Callable[[Spec], str],
    tensors: Mapping[str, Tensor],
    which: str,
    dtype: torch.dtype,
    more: Callable[[Path, Spec], Spec] = lambda _, spec: spec,
) -> Spec:
    """As `save_folder`, for any kind of folder: `description` names its JSON file, `card` writes its README.md, and
    `more` what else belongs there, noting it in the spec."""
    check_replaceable(folder, description)
    with replace_folder(folder) as new:
        stored = {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}
        path = new / "weights.safetensors"
        write_tensors(stored, path)
        count = sum(value.numel() for value in stored.values())
        facts = WeightFacts(which, str(dtype).removeprefix("torch."), count, sha256_of(path))
        spec = more(new, replace(spec, weights=facts))  # type: ignore[type-var] (a dataclass)
        (new / description).write_text(json.dumps(spec.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        (new / "README.md").write_text(card(spec), "utf-8")
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
    spec, read = open_folder(folder)
    return spec, read()


def open_folder(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[ModelSpec, Callable[[], UNet]]:
    """A model folder with all its files as they were written, and what reads its network, of this number type.

    Errors as in `load_folder`; those of single tensors when the network is read.
    """
    spec, stored = read_folder(folder, "model.json", ModelSpec)
    check_files(folder, spec)

    def read() -> UNet:
        try:
            return UNet.from_tensors(spec.network, stored, dtype)
        except InputError as error:
            raise InputError(f"{folder / 'weights.safetensors'}: {error}") from error

    return spec, read


def read_folder(folder: Path, description: str, kind: type[Spec]) -> tuple[Spec, Mapping[str, Tensor]]:
    """What a folder of any kind says of itself, and its tensors, not yet read or compared with each other.

    Errors as in `load_folder`.
    """
    spec = read_description(folder, description, kind)
    weights, what = folder / "weights.safetensors", DESCRIPTIONS[description]
    assert spec.weights is not None  # read_spec sees to that
    if not weights.is_file():
        raise InputError(f"{folder} has no weights.safetensors")
    try:
        stored = StoredTensors(weights)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{weights} is not a whole safetensors file: {error}") from error
    if sha256_of(weights) != spec.weights.sha256:
        raise InputError(f"{weights} does not match the checksum in {description}: the two belong to different {what}s")
    return spec, stored


def read_description(folder: Path, description: str, kind: type[Spec]) -> Spec:
    """What a folder of any kind says of itself. Errors as in `load_folder`."""
    path, what = folder / description, DESCRIPTIONS[description]
    if not path.is_file():
        raise InputError(f"{folder} is no {what} folder: it has no {description}.{_found_instead(folder)}")
    try:
        if path.stat().st_size > MOST_DESCRIPTION:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes are too many for such a file")
        facts = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return read_spec(kind, facts, str(path))


def _found_instead(folder: Path) -> str:
    """A sentence on what else the folder is, where that can be told."""
    others = [what for name, what in DESCRIPTIONS.items() if (folder / name).is_file()]
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl"})
    if others:
        return f" It holds {_a(others[0])}."
    return f" It holds {pickles[0]}, a pickle, which can run code when opened; sfumato reads none." if pickles else ""


def _a(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def check_replaceable(folder: Path, description: str) -> None:
    """Raise `InputError` unless there is nothing, or a folder of the same kind: only that is ever replaced."""
    what = DESCRIPTIONS[description]
    known = {description, "weights.safetensors", "README.md", "tuned.json", AUTOENCODER, TEXT}
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; {_a(what)} needs a folder")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in known) if folder.is_dir() else []
    if foreign:
        raise InputError(
            f"{folder} holds {foreign[0]!r}, which is no part of {_a(what)}. Choose a new or empty folder."
        )
