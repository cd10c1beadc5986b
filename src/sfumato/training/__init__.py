"""Training: one readable loop (`loop`), everything random a function of (seed, pictures seen)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.training.config import TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["TrainConfig", "train"]


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Train a model and return its folder; see `sfumato.training.loop.train`, which is imported when called."""
    from sfumato.training.loop import train

    return train(config, console)
