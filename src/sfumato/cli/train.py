"""`sfumato train`: the options are the fields of `TrainConfig`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.training.config import TrainConfig

__all__ = ["Train"]


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model. With --resume, options that are not given are those the run was started with."""

    @staticmethod
    def defaults(words: Sequence[str]) -> dict[str, Any]:
        """For --resume: the config stored in the run's folder."""
        out = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--out"), None)
        if "--resume" not in words or out is None or not (Path(out) / "config.json").is_file():
            return {}
        return json.loads((Path(out) / "config.json").read_text("utf-8"))

    def run(self) -> None:
        """Train, and say where the model is."""
        from sfumato.training.loop import train

        folder = train(self)
        print(f"model: {folder}")
