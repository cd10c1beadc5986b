"""Sfumato: denoising diffusion, complete and exact: train, sample, measure.

The public names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sfumato._version import __version__

if TYPE_CHECKING:
    from sfumato import solvers
    from sfumato.data.sources import open_data
    from sfumato.diffusion.process import Diffusion
    from sfumato.diffusion.schedule import NoiseSchedule
    from sfumato.errors import DivergedError, InputError, SfumatoError
    from sfumato.generation.autoencoder import LatentCodec, load_autoencoder
    from sfumato.generation.classifier import Classifier, load_classifier
    from sfumato.generation.guidance import Guidance
    from sfumato.generation.model import Model, load
    from sfumato.images import Images
    from sfumato.networks.config import UNetConfig
    from sfumato.networks.unet import UNet
    from sfumato.solvers import solve, steps
    from sfumato.training import (
        ClassifierConfig,
        TrainAutoencoderConfig,
        TrainConfig,
        train,
        train_autoencoder,
        train_classifier,
    )

_WHERE = {
    "Classifier": "sfumato.generation.classifier",
    "ClassifierConfig": "sfumato.training",
    "Diffusion": "sfumato.diffusion.process",
    "DivergedError": "sfumato.errors",
    "Guidance": "sfumato.generation.guidance",
    "Images": "sfumato.images",
    "InputError": "sfumato.errors",
    "LatentCodec": "sfumato.generation.autoencoder",
    "Model": "sfumato.generation.model",
    "NoiseSchedule": "sfumato.diffusion.schedule",
    "SfumatoError": "sfumato.errors",
    "TrainAutoencoderConfig": "sfumato.training",
    "TrainConfig": "sfumato.training",
    "UNet": "sfumato.networks.unet",
    "UNetConfig": "sfumato.networks.config",
    "load": "sfumato.generation.model",
    "load_autoencoder": "sfumato.generation.autoencoder",
    "load_classifier": "sfumato.generation.classifier",
    "open_data": "sfumato.data.sources",
    "solve": "sfumato.solvers",
    "solvers": "sfumato.solvers",
    "steps": "sfumato.solvers",
    "train": "sfumato.training",
    "train_autoencoder": "sfumato.training",
    "train_classifier": "sfumato.training",
}

__all__ = [
    "Classifier",
    "ClassifierConfig",
    "Diffusion",
    "DivergedError",
    "Guidance",
    "Images",
    "InputError",
    "LatentCodec",
    "Model",
    "NoiseSchedule",
    "SfumatoError",
    "TrainAutoencoderConfig",
    "TrainConfig",
    "UNet",
    "UNetConfig",
    "__version__",
    "load",
    "load_autoencoder",
    "load_classifier",
    "open_data",
    "solve",
    "solvers",
    "steps",
    "train",
    "train_autoencoder",
    "train_classifier",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'sfumato' has no attribute {name!r}")
    module = importlib.import_module(_WHERE[name])
    return module if module.__name__ == f"sfumato.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
