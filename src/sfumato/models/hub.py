"""Models by their id on the Hugging Face hub, owner/name, through its own client and cache."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sfumato.errors import InputError
from sfumato.files import cache_folder
from sfumato.models.convert.pipeline import from_pipeline
from sfumato.models.folder import save_folder

__all__ = ["hub_folder"]

# whole models only: no single-file checkpoints beside them, no second copies in other precisions
WANTED = ["*.json", "*/*.txt", "*/*.model", "*/*.safetensors", "weights.safetensors", "autoencoder.safetensors"]
UNWANTED = ["*.fp16.safetensors", "*.non_ema.safetensors", "safety_checker/*", "*/flax_*", "*/openvino_*"]


def hub_folder(source: str) -> Path:
    """The folder of a model on the hub, fetched where the client's cache has it not yet.

    A repository of sfumato's own is used as it is; one of diffusers' is converted once, into sfumato's cache.

    Args:
        source: owner/name, or owner/name@revision.

    Raises:
        InputError: when the client is not installed, there is no such repository or no way to it, or what it holds is
            no model of either kind.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise InputError(f"{source!r}: models on the hub need an extra: pip install 'sfumato[hub]'") from error
    name, _, revision = source.partition("@")
    try:
        fetched = snapshot_download(name, revision=revision or None, allow_patterns=WANTED, ignore_patterns=UNWANTED)
    except Exception as error:  # the client has dozens of its own, those of its transport among them
        raise InputError(
            f"no model {source!r}: there is no such folder, and the hub gave none ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'})"
        ) from error
    folder = Path(fetched)
    return folder if (folder / "model.json").is_file() else _converted(folder, name)


def _converted(folder: Path, name: str) -> Path:
    """The conversion of a diffusers folder; its name in the cache holds the revision, which the client names it by."""
    target = cache_folder() / "hub" / f"{name.replace('/', '--')}--{folder.name}"
    if not (target / "model.json").is_file():
        with tempfile.TemporaryDirectory() as work:
            model = from_pipeline(folder, Path(work), name=name.rpartition("/")[2], size=None, allow_pickle=False)
            save_folder(target, model.spec, model.tensors, model.which, parts=model.parts)
    return target
