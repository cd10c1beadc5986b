"""Reading files that others wrote: safetensors, and pickles only when asked to, without running what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["PICKLES", "read_checkpoint", "read_component", "read_json"]

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
MOST_JSON = 16 * 2**20  # bytes; the longest index of shards is far below

# Classes that Stable Diffusion's first checkpoints name beside their tensors. An empty one in their place does nothing.
INERT: Any = [type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})]


def read_checkpoint(path: Path, allow_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of one file, on the CPU, in the types in which they are stored.

    Args:
        path: .safetensors; or .ckpt, .pt, .pth, .bin, which are pickles.
        allow_pickle: read pickles. Of them only tensors and plain values are taken (PyTorch's `weights_only`); what
            stands under "state_dict" is meant where there is such an entry.

    Raises:
        InputError: naming the file and the cause: no such file, a pickle that is not allowed or not what its name
            says, one that asks for code, a damaged or truncated file, a value that is no tensor.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix not in PICKLES:
        raise InputError(f"{path}: weights are in .safetensors, or in {', '.join(PICKLES)}; this is none of these")
    if not allow_pickle:
        raise InputError(
            f"{path} is a pickle, which can run code when opened. Look for a .safetensors file of the same model. With "
            "--allow-pickle it is read all the same, tensors only, and nothing in it is run."
        )
    return _read_pickle(path)


def read_component(folder: Path, stem: str, allow_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a folder as diffusers and transformers save them, in one file or many.

    Args:
        folder: such as unet/ of a pipeline.
        stem: "diffusion_pytorch_model" or "model". Full precision comes before fp16, safetensors before pickles.
        allow_pickle: as in `read_checkpoint`.

    Raises:
        InputError: as `read_checkpoint`; also when there are no weights, or the parts do not make a whole.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    pickle = "pytorch_model" if stem == "model" else stem
    for variant in ("", ".fp16"):
        whole, index = folder / f"{stem}{variant}.safetensors", folder / f"{stem}.safetensors.index{variant}.json"
        if whole.is_file():
            return read_checkpoint(whole)
        if index.is_file():
            return _read_shards(index)
    for variant in ("", ".fp16"):
        if (folder / f"{pickle}{variant}.bin").is_file():
            return read_checkpoint(folder / f"{pickle}{variant}.bin", allow_pickle)
    raise InputError(
        f"{folder} holds no weights: neither {stem}.safetensors, nor its fp16 variant, nor an index of parts"
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds names and values. Raises `InputError`, naming it, for anything else."""
    try:
        if path.stat().st_size > MOST_JSON:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes are too many for such a file")
        facts = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path}: expected names and values, not {type(facts).__name__}")
    return facts


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with open(path, "rb") as file:
        start = file.read(2)
    if start == b"PK" or start[:1] == b"\x80":
        raise InputError(f"{path} is a pickle by the name of safetensors. Don't trust where it comes from.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}. Fetch it again.") from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise InputError(f"{index}: weight_map is missing, the file of each tensor")
    result: dict[str, Tensor] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file or Path(file).suffix != ".safetensors":
            raise InputError(f"{index} names {file!r}, which is no .safetensors file beside it")
        tensors = read_checkpoint(index.parent / file)
        wrong = sorted(set(tensors) ^ {name for name, place in places.items() if place == file})
        if wrong:
            raise InputError(f"{index} and {file} differ on which tensors that file holds: {wrong[0]}")
        result |= tensors
    return result


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with _only_inert_classes():
            value = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        cause = str(error).strip().splitlines() or [type(error).__name__]
        asks = next((line.strip() for line in cause if "global" in line.lower()), cause[0])
        raise InputError(f"{path} is not read: it is damaged, or asks for more than tensors. {asks}") from error
    if isinstance(value, Mapping) and isinstance(value.get("state_dict"), Mapping):
        value = value["state_dict"]
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: expected tensors by name, not {type(value).__name__}")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"{path}: {name!r} is {type(tensor).__name__}, not a tensor")
    return dict(value)


@contextmanager
def _only_inert_classes():
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(INERT)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
