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

    def run(self) -> None:
        """Print it."""
        if self.model is None:
            self._machine()
        else:
            self._describe(self.model)

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
