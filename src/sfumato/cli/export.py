"""`sfumato export`: a model folder from another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

__all__ = ["Export"]


@dataclass(frozen=True)
class Export:
    """Copy a model into a folder of its own: stored in half precision, say, under another name or licence."""

    model: Positional[str]
    """a shipped name, a model folder, or the folder of a run"""
    out: Path
    """folder to write; replaced when it exists"""
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

    def run(self) -> None:
        """Load, check, write."""
        from dataclasses import replace

        import torch

        from sfumato.generation.model import Model, Request, load
        from sfumato.models.folder import save_folder
        from sfumato.models.tuned import save_tuned

        model = load(self.model)
        asked = {
            "solver": self.solver,
            "steps": self.steps,
            "spacing": self.spacing,
            "guidance_scale": self.guidance_scale,
        }
        sampling = replace(model.spec.sampling, **{key: value for key, value in asked.items() if value is not None})
        licence = self.licence or model.spec.licence
        spec = replace(model.spec, name=self.name or model.spec.name, licence=licence, sampling=sampling)
        Model(spec, model.network, tuned=model.tuned).table(Request())  # the new defaults must work
        dtype = getattr(torch, self.dtype)
        spec = save_folder(self.out, spec, model.network.state_dict(), model.spec.which_weights, dtype)
        assert spec.weights is not None
        assert model.spec.weights is not None
        if spec.weights.sha256 == model.spec.weights.sha256:
            save_tuned(self.out, spec.weights.sha256, model.tuned)
        elif model.tuned:
            print(f"its tuned tables belong to the weights as they were; for new ones: sfumato tune {self.out}")
        size = (self.out / "weights.safetensors").stat().st_size
        print(f"{self.out}: {spec.name}, {spec.weights.parameters:,} parameters as {self.dtype}, {size / 1e6:.2f} MB")
