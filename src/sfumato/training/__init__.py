"""Training: one readable loop (`loop`), everything random a function of (seed, pictures seen)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.training.autoencoder_config import TrainAutoencoderConfig
from sfumato.training.classifier_config import ClassifierConfig
from sfumato.training.config import TrainConfig
from sfumato.training.lora_config import LoraConfig

if TYPE_CHECKING:
    from rich.console import Console

    from sfumato.models.classifier import ClassifierSpec

__all__ = [
    "ClassifierConfig",
    "LoraConfig",
    "TrainAutoencoderConfig",
    "TrainConfig",
    "fine_tuning",
    "train",
    "train_autoencoder",
    "train_classifier",
]


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Train a model and return its folder; see `sfumato.training.loop.train`, which is imported when called."""
    from sfumato.training.loop import train

    return train(config, console)


def fine_tuning(model: str | Path, **options: Any) -> TrainConfig:
    """The config of a run that goes on from a model; see `sfumato.training.fine_tuning.fine_tuning`."""
    from sfumato.training.fine_tuning import fine_tuning

    return fine_tuning(model, **options)


def train_classifier(config: ClassifierConfig, console: Console | None = None) -> ClassifierSpec:
    """Train a classifier of noisy pictures; see `sfumato.training.classifier`, which is imported when called."""
    from sfumato.training.classifier import train_classifier

    return train_classifier(config, console)


def train_autoencoder(config: TrainAutoencoderConfig, console: Console | None = None) -> Path:
    """Train an autoencoder and return its folder; see `sfumato.training.autoencoder`, which is imported when called."""
    from sfumato.training.autoencoder import train_autoencoder

    return train_autoencoder(config, console)
