"""A model with a LoRA merged into it: another model, which is saved and used like any."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from sfumato.conditioning.frozen import frozen_spec
from sfumato.errors import InputError
from sfumato.files import sha256_of
from sfumato.models.convert.checkpoint import read_component
from sfumato.models.convert.lora import Lora, lora_file, merged_text, merged_unet, read_lora
from sfumato.models.folder import write_tensors
from sfumato.models.parts import Parts
from sfumato.models.spec import ModelSpec
from sfumato.networks.unet import UNet

__all__ = ["opened_with_lora", "with_lora"]

log = logging.getLogger("sfumato")


def with_lora(
    spec: ModelSpec, tensors: Mapping[str, Tensor], parts: Parts, path: Path, scale: float, work: Path
) -> tuple[ModelSpec, dict[str, Tensor], Parts]:
    """Merge a LoRA file into a model's network, and into its text encoder where the file has updates for that.

    Args:
        spec, tensors, parts: the model.
        path: .safetensors, or the folder of a run, as `read_lora` takes it. One that says that it was learned on other
            weights is told of in the log; it may still be what is wanted.
        scale: how much of it.
        work: an empty folder for a changed text encoder, which must stay until the model is saved.

    Returns:
        The new model's description, tensors and parts. Its training facts name the file and the scale, and the weights
        that it was merged into.

    Raises:
        InputError: naming the file, and the first layer that does not fit the model.
    """
    lora = read_lora(path)
    _compare_base(lora, spec, path)
    try:
        merged = merged_unet(spec.network, tensors, lora, scale)
        if lora.text and (spec.text is None or spec.text.encoder != "clip" or parts.text is None):
            raise InputError(f"it has updates for CLIP's text encoder, which {spec.name} does not have")
        if lora.text and spec.text is not None and parts.text is not None:
            texts = merged_text(read_component(parts.text, "model"), lora, scale)
            for source in parts.text.iterdir():
                if source.suffix != ".safetensors":
                    (work / source.name).symlink_to(source.resolve())
            write_tensors(texts, work / "model.safetensors")
            parts = replace(parts, text=work)
            told = frozen_spec("clip", work, spec.text.length)
            spec = replace(spec, text=replace(spec.text, source=told.source, sha256=told.sha256))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return _told(spec, path, scale), merged, parts


def opened_with_lora(
    spec: ModelSpec, read: Callable[[], UNet], path: Path, scale: float
) -> tuple[ModelSpec, Callable[[], UNet]]:
    """The same for a model that is used and not saved: its description, and what reads its network.

    Its checksum of weights is one of both files and the scale, so that nothing made with it is taken for the model's.

    Raises:
        InputError: as `with_lora`, those of single layers when the network is read; and for updates of a text encoder.
    """
    lora = read_lora(path)
    if lora.text:
        raise InputError(
            f"{path}: it also has updates for a text encoder, which are merged into a folder of their own only: "
            f"sfumato export MODEL --lora {path} --lora-scale {scale:g} --out FOLDER"
        )
    _compare_base(lora, spec, path)

    def merged() -> UNet:
        network = read()
        try:
            network.load_state_dict(merged_unet(spec.network, network.state_dict(), lora, scale))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return network

    told = _told(spec, path, scale)
    assert spec.weights is not None  # it was opened
    both = " ".join([spec.weights.sha256, told.training["lora_sha256"], repr(scale)])
    facts = replace(spec.weights, sha256=hashlib.sha256(both.encode()).hexdigest())
    return replace(told, weights=facts), merged


def _told(spec: ModelSpec, path: Path, scale: float) -> ModelSpec:
    """With what was merged among its training facts."""
    facts = {
        "lora": f"{path.name}, scale {scale:g}",
        "lora_sha256": sha256_of(lora_file(path)),
        "lora_merged_into": spec.weights.sha256 if spec.weights else None,
    }
    return replace(spec, training={**spec.training, **facts})


def _compare_base(lora: Lora, spec: ModelSpec, path: Path) -> None:
    if lora.base is not None and spec.weights is not None and lora.base.sha256 != spec.weights.sha256:
        log.warning(
            "%s was learned on %s (weights %s…); this is %s (weights %s…), on which it may do something else",
            *(path, lora.base.name, lora.base.sha256[:12], spec.name, spec.weights.sha256[:12]),
        )
