"""A model with a LoRA merged into it: another model, which is saved and used like any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from sfumato.conditioning.frozen import frozen_spec
from sfumato.errors import InputError
from sfumato.models.convert.checkpoint import read_component
from sfumato.models.convert.lora import merged_text, merged_unet, read_lora
from sfumato.models.folder import write_tensors
from sfumato.models.parts import Parts
from sfumato.models.spec import ModelSpec

__all__ = ["with_lora"]


def with_lora(
    spec: ModelSpec, tensors: Mapping[str, Tensor], parts: Parts, path: Path, scale: float, work: Path
) -> tuple[ModelSpec, dict[str, Tensor], Parts]:
    """Merge a LoRA file into a model's network, and into its text encoder where the file has updates for that.

    Args:
        spec, tensors, parts: the model.
        path: .safetensors, as `read_lora` takes it.
        scale: how much of it.
        work: an empty folder for a changed text encoder, which must stay until the model is saved.

    Returns:
        The new model's description, tensors and parts. Its training facts name the file and the scale.

    Raises:
        InputError: naming the file, and the first layer that does not fit the model.
    """
    lora = read_lora(path)
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
    return replace(spec, training={**spec.training, "lora": f"{path.name}, scale {scale:g}"}), merged, parts
