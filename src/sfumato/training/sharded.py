"""Checkpoints in shards: a folder with a safetensors file of every rank, through torch.distributed.checkpoint.

facts.json holds what the header of a single file would, and the checksums of the shards; its own is that of the
checkpoint. Any number of ranks can read it, one alone too: each finds its part of every tensor. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from sfumato.files import replace_folder, sha256_of, write_text
from sfumato.training.entries import DamagedError
from sfumato.training.ranks import World

__all__ = ["fill", "read", "shapes", "tensors", "verify", "write"]

FACTS = "facts.json"


def write(path: Path, values: Mapping[str, Tensor], facts: Mapping[str, Any], world: World) -> str:
    """Write a folder, whole or not at all. Called by all ranks.

    Args:
        path: of the folder.
        values: each rank's part of every tensor, as DTensors; plain ones are the same on all ranks.
        facts: what else to keep, as JSON values.

    Returns:
        Its checksum.

    Raises:
        OSError: when any rank cannot write.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    with replace_folder(path) if world.leads else nullcontext(Path()) as new:
        new = world.together(new)[0]
        try:
            writer = HuggingFaceStorageWriter(str(new), save_distributed=True)
            save(dict(values), storage_writer=writer, process_group=world.control)
        except CheckpointException as error:
            rank, (first, _) = min(error.failures.items())
            raise OSError(f"{first} (on rank {rank})") from error
        mine = {file.name: sha256_of(file) for file in new.glob(f"shard-{world.rank + 1:05d}-*")}
        files = {name: sha256 for part in world.together(mine) for name, sha256 in part.items()}
        text = json.dumps({**facts, "files": files}) + "\n"
        if world.leads:
            write_text(new / FACTS, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The facts of a folder, and its checksum. Raises `DamagedError` when they are not there."""
    try:
        text = (path / FACTS).read_bytes()
        facts = json.loads(text)
        missing = {"format", "position", "files"} - facts.keys()
    except (OSError, AttributeError, ValueError, RecursionError) as error:
        raise DamagedError(f"it cannot be read ({type(error).__name__}: {error})") from error
    if missing:
        raise DamagedError(f"it cannot be read (no {min(missing)} in it)")
    return facts, hashlib.sha256(text).hexdigest()


def verify(path: Path, facts: Mapping[str, Any]) -> None:
    """Raise `DamagedError` unless the shards are those of which the facts tell."""
    try:
        there = {file.name: sha256_of(file) for file in path.glob("*.safetensors")}
    except OSError as error:
        raise DamagedError(f"it cannot be read ({type(error).__name__}: {error})") from error
    if there != facts["files"]:
        raise DamagedError("its shards do not match their checksums")


def shapes(path: Path) -> dict[str, torch.Size]:
    """Of all tensors in a folder, by name. Raises `DamagedError` for shards that are none."""
    return {name: told.size for name, told in _told(path).items()}


def fill(path: Path, places: Mapping[str, Tensor]) -> None:
    """Copy what a folder holds to where it belongs: whole tensors, or a rank's part of each. Names are those there."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")  # each rank reads for itself
        load(dict(places), storage_reader=HuggingFaceStorageReader(str(path)), no_dist=True)


def tensors(path: Path, begin: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, whole, without that. Raises `DamagedError` as `shapes`."""
    found = {
        name: torch.empty(told.size, dtype=told.properties.dtype)
        for name, told in _told(path).items()
        if name.startswith(begin)
    }
    fill(path, found)
    return {name.removeprefix(begin): value for name, value in found.items()}


def _told(path: Path) -> dict[str, Any]:
    """What the shards say of each tensor."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    try:
        return HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"it cannot be read ({type(error).__name__}: {error})") from error
