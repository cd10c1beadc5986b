"""What a model's folder holds besides its own weights: the autoencoder of its latents, the encoder of its texts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from safetensors import SafetensorError
from torch import Tensor

from sfumato.errors import InputError
from sfumato.files import sha256_of
from sfumato.models.spec import ModelSpec
from sfumato.models.tensors import StoredTensors
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig

__all__ = ["AUTOENCODER", "NO_PARTS", "TEXT", "Parts", "check_files", "read_autoencoder", "write_parts"]

AUTOENCODER, TEXT = "autoencoder.safetensors", "text"
ENCODER_FILES = {".json", ".safetensors", ".txt", ".model"}  # weights, configs and vocabularies


@dataclass(frozen=True)
class Parts:
    """Further parts of a model.

    Attributes:
        autoencoder: the state of its autoencoder.
        text: folder of its frozen text encoder, with the tokenizer; it is copied.
    """

    autoencoder: Mapping[str, Tensor] | None = None
    text: Path | None = None


NO_PARTS = Parts()


def write_parts(
    folder: Path, parts: Parts, dtype: torch.dtype, write: Callable[[Mapping[str, Tensor], Path], None]
) -> dict[str, str]:
    """Write them into a model's folder, tensors by `write`. Returns the sha256 of each file by its name there."""
    files = []
    if parts.autoencoder is not None:
        stored = {name: value.detach().to("cpu", dtype).contiguous() for name, value in parts.autoencoder.items()}
        write(stored, folder / AUTOENCODER)
        files.append(folder / AUTOENCODER)
    if parts.text is not None:
        (folder / TEXT).mkdir()
        for source in sorted(path for path in parts.text.iterdir() if path.suffix in ENCODER_FILES):
            shutil.copyfile(source, folder / TEXT / source.name)
            files.append(folder / TEXT / source.name)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def check_files(folder: Path, spec: ModelSpec) -> None:
    """Raise `InputError`, naming the file, unless all further files of a model are there and as they were written."""
    if spec.autoencoder is not None and AUTOENCODER not in spec.files:
        raise InputError(f"{folder / 'model.json'}: files does not name {AUTOENCODER}, which a latent model needs")
    present = {f"{TEXT}/{path.name}" for path in (folder / TEXT).glob("*")} if (folder / TEXT).is_dir() else set()
    for name in sorted(present - set(spec.files)):
        raise InputError(f"{folder / name} is not among the files that model.json names; remove it")
    for name, expected in spec.files.items():
        path = folder / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise InputError(f"{folder / 'model.json'}: files: {name!r} lies outside of the folder")
        if not path.is_file():
            raise InputError(f"{folder} has no {name}, which is a part of the model")
        if sha256_of(path) != expected:
            raise InputError(f"{path} does not match its checksum in model.json: the two belong to different models")


def read_autoencoder(folder: Path, config: AutoencoderConfig, dtype: torch.dtype = torch.float32) -> Autoencoder:
    """The autoencoder in a model's folder, of this number type. `InputError` as in `load_folder`."""
    path = folder / AUTOENCODER
    try:
        return Autoencoder.from_tensors(config, StoredTensors(path), dtype)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
