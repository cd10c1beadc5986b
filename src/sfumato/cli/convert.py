"""`sfumato convert`: a model folder from a model of another library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from sfumato.diffusion.config import ScheduleName
from sfumato.errors import InputError

__all__ = ["Convert"]

TOLD = ("tokenizer", "prediction", "heads", "head_channels", "new_attention_order", "schedule", "steps")


@dataclass(frozen=True)
class Convert:
    """Make a model folder of a diffusers folder, of Stable Diffusion in one file, or of a U-Net of OpenAI's.

    Numbers are kept as they are. What cannot be represented is refused by name. Of the options from --size on, a
    diffusers folder needs none; single files don't say these things.
    """

    path: Positional[Path]
    """a folder that diffusers wrote, or a file: .safetensors; .ckpt, .pt or .bin with --allow-pickle"""
    out: Path
    """folder to write; an existing model there is replaced"""
    name: str | None = None
    """of the model; default: that of the file or folder"""
    licence: str = "unknown"
    """licence of the weights"""
    dtype: Literal["float32", "float16"] = "float32"
    """how the weights are stored; they are always used as float32"""
    allow_pickle: bool = False
    """read pickles, of which only tensors are taken; nothing in them is run"""
    size: str | None = None
    """of the pictures, WIDTHxHEIGHT or one side"""
    tokenizer: Path | None = None
    """folder of the tokenizer of Stable Diffusion's text encoder, such as tokenizer/ of a diffusers folder"""
    prediction: Literal["eps", "x0", "v"] | None = None
    """what the network predicts; default: eps"""
    heads: int | None = None
    """heads of every attention (num_heads)"""
    head_channels: int | None = None
    """width of a head, in the place of their number (num_head_channels)"""
    new_attention_order: bool = False
    """OpenAI: trained with use_new_attention_order"""
    schedule: ScheduleName | None = None
    """OpenAI: shape of the noise schedule (noise_schedule); default: linear"""
    steps: int | None = None
    """OpenAI: its steps (diffusion_steps); default: 1000"""

    def run(self) -> None:
        """Read, understand, check, write."""
        import tempfile
        from dataclasses import replace

        import torch

        from sfumato.cli.sampling import size_from
        from sfumato.models.convert.file import Told, from_file
        from sfumato.models.convert.pipeline import from_pipeline
        from sfumato.models.folder import check_replaceable, save_folder

        check_replaceable(self.out, "model.json")
        if not self.path.exists():
            raise InputError(f"{self.path}: there is no such file or folder")
        whole = self.path.resolve()
        size, name = size_from(self.size), self.name or (whole.name if whole.is_dir() else whole.stem)
        with tempfile.TemporaryDirectory() as work:
            if self.path.is_dir():
                self._refuse("a diffusers folder says that itself", *TOLD)
                model = from_pipeline(self.path, Path(work), name=name, size=size, allow_pickle=self.allow_pickle)
            else:
                told = Told(
                    size=size,
                    heads=self.heads,
                    head_channels=self.head_channels,
                    by_head=not self.new_attention_order,
                    schedule=self.schedule,
                    steps=self.steps,
                    prediction=self.prediction or "eps",
                    tokenizer=self.tokenizer,
                )
                model = from_file(self.path, Path(work), told, name=name, allow_pickle=self.allow_pickle)
            spec = replace(model.spec, licence=self.licence)
            spec = save_folder(self.out, spec, model.tensors, model.which, getattr(torch, self.dtype), model.parts)
        for note in model.notes:
            print(note)
        assert spec.weights is not None
        print(f"{self.out}: {spec.name}, {spec.weights.parameters:,} parameters ({model.which}) as {self.dtype}")

    def _refuse(self, why: str, *names: str) -> None:
        for name in names:
            if getattr(self, name):
                raise InputError(f"--{name.replace('_', '-')} has no place here: {why}")
