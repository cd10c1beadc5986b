"""Networks that others trained, in folders as `transformers` saves them: read from disk, no code of theirs run."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sfumato.errors import InputError
from sfumato.files import sha256_of
from sfumato.models.convert.checkpoint import read_json

__all__ = ["library", "read_network", "refuse_code", "told", "weights_checksum"]

MOST_DESCRIPTION = 64_000_000  # bytes looked at; the vocabularies of real encoders have a few million


def library(what: str) -> Any:
    """`transformers`. `InputError`, saying that `what` needs it, where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(f"{what} needs an extra: pip install 'sfumato[text]'") from error
    return transformers


def read_network(
    kind: str,
    folder: Path,
    what: str,
    dtype: torch.dtype = torch.float32,
    types: Sequence[str] = (),
    pickled: bool = False,
) -> Any:
    """A network with its weights, in evaluation mode, without gradients.

    Args:
        kind: name of its class in `transformers`.
        folder: of its config.json and weights.
        what: it is, for messages.
        dtype: number type of its weights.
        types: what config.json may have as model_type; none: any. Relatives of a network have all its tensors and more,
            which would be left out without a word.
        pickled: read pytorch_model.bin, tensors only; otherwise model.safetensors.

    Raises:
        InputError: when `transformers` is not installed, or the folder does not hold the whole network, or it asks for
            code.
    """
    transformers = library(f"the {what}")
    refuse_code(folder)
    found = read_json(folder / "config.json").get("model_type") if types else None
    if types and found not in types:
        raise InputError(f"{folder} holds no {what}: its config.json describes a network of type {found!r}")
    with told(what, folder), _quiet(transformers):
        network, facts = getattr(transformers, kind).from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not pickled,
            dtype=dtype,
            output_loading_info=True,
        )
    missing = [key for key in facts["missing_keys"] if "pooler" not in key]  # would be drawn at random without a word
    if missing or facts["mismatched_keys"]:
        cause = f"{sorted(missing)[0]} is missing" if missing else "shapes differ from its config.json"
        raise InputError(f"{folder} is no whole {what}: {cause}")
    return network.eval().requires_grad_(False)


def weights_checksum(folder: Path, what: str) -> str:
    """The sha256 of the weights; of several files, of their checksums. `InputError` where there are none."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} holds no {what}: it has no model.safetensors")
    sums = [sha256_of(path) for path in files]
    return sums[0] if len(sums) == 1 else hashlib.sha256(" ".join(sums).encode()).hexdigest()


def refuse_code(folder: Path) -> None:
    """Raise `InputError` where a description asks for code of its own, which the library would offer to run."""
    for path in sorted(folder.glob("*.json")):
        try:
            with open(path, "rb") as file:
                asks = b'"auto_map"' in file.read(MOST_DESCRIPTION)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if asks:
            raise InputError(f"{path} asks for code that comes with it (auto_map); sfumato runs none")


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's own tables of tensors that are missing, or are not needed."""
    logging = transformers.utils.logging
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def told(what: str, folder: Path) -> Iterator[None]:
    """The library's errors, as ours."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} is no whole {what}: {error}") from error
