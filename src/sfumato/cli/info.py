"""`sfumato info`: what a model is, or what there is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

__all__ = ["Info"]


@dataclass(frozen=True)
class Info:
    """Say what a model is; without a model, what is installed here."""

    model: Annotated[str | None, tyro.conf.Positional] = None
    """a shipped name, a model folder, or the folder of a run"""
    memory: str | None = None
    """WIDTHxHEIGHT such as 512x768, or one side: predict how much memory pictures of this size will take"""
    batch: int = 1
    """for --memory: pictures at once"""
    dtype: str = "float32"
    """for --memory: number type of the weights, float32, float16 or bfloat16"""
    device: str = "cpu"
    """for --memory: where they are made; it need not be here"""

    def run(self) -> None:
        """Print it."""
        if self.memory is not None:
            self._predict(self.memory)
        elif self.model is None:
            self._machine()
        else:
            self._describe(self.model)

    def _predict(self, size: str) -> None:
        from sfumato.cli.sampling import size_from
        from sfumato.errors import InputError
        from sfumato.generation.memory import Way, memory_table, text_numbers
        from sfumato.models.folder import read_description
        from sfumato.models.shipped import find_folder
        from sfumato.models.spec import ModelSpec

        if self.model is None:
            raise InputError("--memory needs a model: sfumato info MODEL --memory 512x512")
        folder = find_folder(self.model)
        spec = read_description(folder, "model.json", ModelSpec)
        shape = size_from(size, "--memory")
        way = Way(shape, self.batch, dtype=self.dtype, device=self.device)
        guided = "guided" if way.is_guided(spec) else "not guided"
        print(f"{spec.name}, {size}, {self.batch} at once, {guided}: predicted peak on {self.device} in GiB\n")
        print("\n".join(memory_table(spec, way, text_numbers(spec, folder))))

    @staticmethod
    def _machine() -> None:
        import platform

        import torch

        from sfumato._version import __version__
        from sfumato.data.sources import source_names
        from sfumato.models.shipped import shipped_names
        from sfumato.solvers import SOLVERS

        devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
        print(f"sfumato {__version__}, torch {torch.__version__}, Python {platform.python_version()}")
        print(f"devices: {', '.join(devices)}; {torch.get_num_threads()} CPU threads")
        print(f"models:  {', '.join(shipped_names()) or 'none shipped'}")
        print(f"data:    {', '.join(source_names())}")
        print(f"solvers: {', '.join(SOLVERS)} (more in: sfumato solvers)")

    @staticmethod
    def _describe(source: str) -> None:
        from dataclasses import asdict

        from sfumato.models.card import model_card
        from sfumato.models.folder import load_folder
        from sfumato.models.shipped import find_folder

        folder = find_folder(source)
        spec, _ = load_folder(folder)  # all of it, so that damage shows
        defaults = ", ".join(f"{key} {value}" for key, value in asdict(spec.sampling).items())
        print(f"{folder}\n\n{model_card(spec)}\nSampling defaults: {defaults}")
