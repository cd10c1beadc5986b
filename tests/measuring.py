"""What an evaluation needs, in tiny: a saved model, real pictures like nothing, an extractor that projects pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from factory import network, spec
from sfumato.data.dataset import Dataset
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.generation.model import Model, load
from sfumato.models.folder import save_folder

WIDTH = 6


def dataset(count: int = 60, name: str = "squares", seed: int = 0, side: int = 8) -> Dataset:
    """Random squares on a grey ground, labelled as `factory.LABELS` has it."""
    rng = np.random.default_rng(seed)
    images = np.full((count, side, side, 3), 128, np.uint8)
    for image in images:
        top, left = rng.integers(0, side - 2, 2)
        image[top : top + 3, left : left + 3] = rng.integers(0, 256, 3)
    labels = np.stack([rng.integers(0, 2, count), rng.integers(0, 3, count)], axis=1)
    kinds = {"group": ("food", "animals"), "style": ("noto", "fluent", "flat")}
    return Dataset(name, images, labels, kinds)


def saved(folder: Path, data: Dataset | None = None, **changes) -> Model:
    """A tiny model that was saved and loaded; `data` is what it says that it was trained on."""
    facts = {} if data is None else {"name": data.name, "count": len(data), "fingerprint": data.fingerprint}
    description = spec(data=facts, **changes)
    save_folder(folder, description, network(description).state_dict(), "average")
    return load(folder)


def extractor(width: int = WIDTH, classes: bool = True, name: str = "Toy") -> Extractor:
    """A fixed random projection of pixels, which calls itself a classifier."""

    def features(images: np.ndarray) -> np.ndarray:
        rows = images.reshape(len(images), -1).astype(np.float64) / 255 - 0.5
        matrix = np.random.default_rng(7).normal(size=(rows.shape[1], width))
        return (rows @ matrix).astype(np.float32)

    def probabilities(rows: np.ndarray) -> np.ndarray:
        values = np.exp(rows[:, :4] - rows[:, :4].max(1, keepdims=True))
        return values / values.sum(1, keepdims=True)

    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return Extractor(name, sha256, "x/255 - 1/2", width, features, probabilities if classes else None)
