"""Small things to test with: a tiny model, a tiny run, pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from rich.console import Console

from sfumato.conditioning.labels import LabelSet
from sfumato.conditioning.text import TextSpec
from sfumato.diffusion.config import ScheduleConfig
from sfumato.generation.classifier import Classifier
from sfumato.generation.model import Model
from sfumato.models.classifier import Accuracy, ClassifierSpec
from sfumato.models.spec import ModelSpec, SamplingDefaults
from sfumato.networks.classifier import NoisyClassifier
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.training.config import TrainConfig

NETWORK = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(1,), head_channels=8, groups=4)
LABELS = LabelSet(
    kinds={"group": ("food", "animals"), "style": ("noto", "fluent", "flat")},
    counts=(((0, 0), 6), ((1, 2), 1), ((1, 1), 1)),
    dropout=0.1,
)
QUIET = Console(quiet=True)


def spec(**changes) -> ModelSpec:
    from dataclasses import replace

    base = ModelSpec(
        name="tiny",
        network=replace(NETWORK, labels=(2, 3)),
        schedule=ScheduleConfig(),
        prediction="v",
        size=(8, 8),
        labels=LABELS,
        sampling=SamplingDefaults(steps=4, spacing="log-snr"),
    )
    return replace(base, **changes)


def network(description: ModelSpec) -> UNet:
    """A network whose every weight is random, so that its output depends on all inputs."""
    net = UNet(description.network)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    return net.eval().requires_grad_(False)


def model(**changes) -> Model:
    description = spec(**changes)
    return Model(description, network(description))


WORDS = ("red", "blue", "apple", "cat", "noto", "style")


def text_model(**changes) -> Model:
    """A model that reads prompts of up to five of `WORDS`, of random weights."""
    from dataclasses import replace

    shape = replace(NETWORK, context=8, vocabulary=len(WORDS) + 1, tokens=6, text_layers=1)
    text = TextSpec("words", 6, WORDS, dropout=0.1, examples=("red apple, noto style", "blue cat"))
    made = model(**{"network": shape, "labels": LabelSet(), "text": text, **changes})
    with torch.no_grad():
        for name, p in made.network.named_parameters():
            if "attention" in name or "text" in name:
                p.mul_(5.0)  # so that what a prompt says shows
    return made


def classifier(**changes) -> Classifier:
    """A classifier for `model()`, of random weights."""
    from dataclasses import replace

    base = ClassifierSpec(
        name="judge",
        network=replace(NETWORK, labels=(2, 3)),
        schedule=ScheduleConfig(),
        size=(8, 8),
        labels=replace(LABELS, dropout=0.0),
        held_out=4,
        chance={"group": 0.5, "style": 0.25},
        accuracy=(Accuracy(0.5, 1.0, {"group": 0.75, "style": 0.5}),),
    )
    description = replace(base, **changes)
    net = NoisyClassifier(description.network)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    return Classifier(description, net.eval().requires_grad_(False))


def pictures(folder: Path, count: int = 12, side: int = 8) -> Path:
    """A folder with two sub-folders of small coloured pictures."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("red" if i % 2 else "blue") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = np.zeros((side, side, 3), np.uint8)
        colour[..., 0 if i % 2 else 2] = rng.integers(100, 255, (side, side))
        Image.fromarray(colour).save(path)
    return folder


def texts_of(path: Path) -> dict[str, str]:
    """What a PNG file says of itself."""
    with Image.open(path) as picture:
        assert isinstance(picture, PngImageFile)
        return {key: str(value) for key, value in picture.text.items()}


def config(data: Path | str, out: Path, **changes) -> TrainConfig:
    small = {
        "size": 8,
        "pictures": 40,
        "batch": 4,
        "network": NETWORK,
        "warmup": 8,
        "ema_halflife": 16,
        "log_every": 8,
        "checkpoint_every": 12,
        "sample_every": 0,
        "device": "cpu",
        "threads": 1,
    }
    return TrainConfig(data=str(data), out=out, **{**small, **changes})
