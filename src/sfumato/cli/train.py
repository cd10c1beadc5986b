"""`sfumato train`: the options are the fields of `TrainConfig`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.cli.options import take_option
from sfumato.training.config import TrainConfig, stored_config

__all__ = ["Train"]


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model. With --resume, options that are not given are those the run was started with."""

    @staticmethod
    def defaults(words: Sequence[str], file: Mapping[str, Any]) -> dict[str, Any]:
        """For --resume: the config stored in the run's folder."""
        out = take_option(list(words), "--out") or file.get("out")
        return stored_config(Path(out)) if out and ("--resume" in words or file.get("resume") is True) else {}

    def run(self) -> None:
        """Train, and say where the model is."""
        from sfumato.training.loop import train

        folder = train(self)
        print(f"model: {folder}")
