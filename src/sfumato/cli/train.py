"""`sfumato train`: the options are the fields of `TrainConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.resume import stored_defaults
from sfumato.training.config import TrainConfig

__all__ = ["Train"]


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model. With --resume, options that are not given are those the run was started with."""

    defaults = staticmethod(stored_defaults)

    def run(self) -> None:
        """Train, and say where the model is."""
        from sfumato.training.loop import train

        folder = train(self)
        print(f"model: {folder}")
