"""`sfumato export`: a model folder from another one, in our format or in diffusers'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.generation.model import Model
    from sfumato.models.parts import Parts
    from sfumato.models.spec import ModelSpec

__all__ = ["Export"]


@dataclass(frozen=True)
class Export:
    """Copy a model into a folder of its own: stored in half precision, say, under another name or licence."""

    model: Positional[str]
    """a shipped name, a model folder, or the folder of a run"""
    out: Path
    """folder to write; replaced when it exists"""
    format: Literal["sfumato", "diffusers"] = "sfumato"
    """diffusers: a folder that its pipelines read"""
    dtype: Literal["float32", "float16"] = "float32"
    """how the weights are stored; they are always used as float32"""
    name: str | None = None
    """a new name"""
    licence: str | None = None
    """licence of the weights"""
    solver: str | None = None
    """new default for sampling"""
    steps: int | None = None
    """new default for sampling"""
    spacing: str | None = None
    """new default for sampling"""
    guidance_scale: float | None = None
    """new default for sampling"""
    lora: Path | None = None
    """LoRA to merge into the weights: .safetensors by kohya's trainer, PEFT or diffusers"""
    lora_scale: float = 1.0
    """how much of it"""

    def run(self) -> None:
        """Load, check, write."""
        import tempfile

        from sfumato.generation.model import load
        from sfumato.models.parts import TEXT, Parts
        from sfumato.models.shipped import find_folder

        model = load(self.model)
        spec, tensors, text = model.spec, model.network.state_dict(), find_folder(self.model) / TEXT
        parts = Parts(model.autoencoder and model.autoencoder.state_dict(), text if text.is_dir() else None)
        with tempfile.TemporaryDirectory() as work:
            if self.lora is not None:
                from sfumato.models.convert.with_lora import with_lora

                spec, tensors, parts = with_lora(spec, tensors, parts, self.lora, self.lora_scale, Path(work))
            if self.format == "diffusers":
                self._to_diffusers(spec, tensors, parts)
            else:
                self._to_folder(model, spec, tensors, parts)

    def _to_diffusers(self, spec: ModelSpec, tensors: Mapping[str, Tensor], parts: Parts) -> None:
        import torch

        from sfumato.errors import InputError
        from sfumato.models.convert.to_pipeline import to_pipeline

        for option in ("name", "licence", "solver", "steps", "spacing", "guidance_scale"):
            if getattr(self, option) is not None:
                raise InputError(f"a folder of diffusers has no place for --{option.replace('_', '-')}")
        pipeline = to_pipeline(self.out, spec, tensors, parts, getattr(torch, self.dtype))
        print(f"{self.out}: {spec.name} as diffusers' {pipeline}, {self.dtype}")

    def _to_folder(self, model: Model, spec: ModelSpec, tensors: Mapping[str, Tensor], parts: Parts) -> None:
        from dataclasses import replace

        import torch

        from sfumato.generation.model import Model
        from sfumato.generation.request import Request
        from sfumato.models.folder import save_folder
        from sfumato.models.tuned import save_tuned

        asked = {key: getattr(self, key) for key in ("solver", "steps", "spacing", "guidance_scale")}
        sampling = replace(spec.sampling, **{key: value for key, value in asked.items() if value is not None})
        spec = replace(spec, name=self.name or spec.name, licence=self.licence or spec.licence, sampling=sampling)
        changed = Model(spec, model.network, "cpu", model.tuned, model.reader, model.autoencoder)
        changed.table(Request())  # the new defaults must work
        spec = save_folder(self.out, spec, tensors, model.spec.which_weights, getattr(torch, self.dtype), parts)
        assert spec.weights is not None
        assert model.spec.weights is not None
        if spec.weights.sha256 == model.spec.weights.sha256:
            save_tuned(self.out, spec.weights.sha256, model.tuned)
        elif model.tuned:
            print(f"its tuned tables belong to the weights as they were; for new ones: sfumato tune {self.out}")
        size = (self.out / "weights.safetensors").stat().st_size
        print(f"{self.out}: {spec.name}, {spec.weights.parameters:,} parameters as {self.dtype}, {size / 1e6:.2f} MB")
