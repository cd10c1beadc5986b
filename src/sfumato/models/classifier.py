"""A classifier of noisy pictures as a folder: classifier.json, weights.safetensors, README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.conditioning.labels import LabelSet
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.models.folder import read_folder, write_folder
from sfumato.models.spec import FORMAT, WeightFacts
from sfumato.networks.classifier import NoisyClassifier
from sfumato.networks.config import UNetConfig

__all__ = [
    "DESCRIPTION",
    "Accuracy",
    "ClassifierSpec",
    "classifier_card",
    "load_classifier_folder",
    "save_classifier_folder",
]

DESCRIPTION = "classifier.json"


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier is right about pictures that training kept back, noised to time t."""

    t: float
    snr: float  # α²/σ² at t
    share: Mapping[str, float]  # kind of label -> share of the labelled pictures told right


@dataclass(frozen=True)
class ClassifierSpec:
    """A classifier without its weights.

    Attributes:
        name: short name.
        network: the U-Net whose first half it is; `labels` is the number of classes of each kind.
        schedule: of the noise that it knows, which must be that of the model it guides.
        size: (height, width) it was trained at.
        labels: what it can tell, and how often each occurs in its training data.
        held_out: pictures that training kept back, to be tested on.
        chance: for each kind of label, the share right when one always says the most frequent class.
        accuracy: on the held-out pictures, at several noise levels.
        training, data, licence, weights: as in `ModelSpec`.
    """

    name: str
    network: UNetConfig
    schedule: ScheduleConfig
    size: tuple[int, int]
    labels: LabelSet
    held_out: int = 0
    chance: Mapping[str, float] = field(default_factory=dict)
    accuracy: tuple[Accuracy, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    weights: WeightFacts | None = None

    def __post_init__(self) -> None:
        if not self.labels.kinds or tuple(map(len, self.labels.kinds.values())) != self.network.labels:
            raise InputError("a classifier needs labels, as many as its network has heads and classes")
        self.network.check_size(*self.size)

    def accuracy_table(self) -> list[str]:
        """`accuracy` and `chance` as the lines of a Markdown table."""

        def shown(share: Mapping[str, float]) -> list[str]:
            return [f"{share[kind]:.1%}" if kind in share else "–" for kind in self.labels.kinds]

        rows = [
            ["t", "SNR", *self.labels.kinds],
            ["---"] * (2 + len(self.labels.kinds)),
            *([f"{level.t:g}", f"{level.snr:.3g}", *shown(level.share)] for level in self.accuracy),
            ["chance", "", *shown(self.chance)],
        ]
        return [f"| {' | '.join(row)} |" for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"format": FORMAT, **asdict(self)}


def save_classifier_folder(folder: Path, spec: ClassifierSpec, tensors: Mapping[str, Tensor]) -> ClassifierSpec:
    """Write a classifier's folder with averaged weights, whole or not at all; see `save_folder`."""
    return write_folder(folder, DESCRIPTION, spec, classifier_card, tensors, "average", torch.float32)


def load_classifier_folder(folder: Path) -> tuple[ClassifierSpec, NoisyClassifier]:
    """Read a classifier's folder. The network is in evaluation mode, on the CPU. Errors as in `load_folder`."""
    if not folder.is_dir():
        raise InputError(
            f"no classifier {str(folder)!r}: there is no such folder. To make one: sfumato train-classifier"
        )
    spec, stored = read_folder(folder, DESCRIPTION, ClassifierSpec)
    try:
        return spec, NoisyClassifier.from_tensors(spec.network, stored)
    except InputError as error:
        raise InputError(f"{folder / 'weights.safetensors'}: {error}") from error


def classifier_card(spec: ClassifierSpec) -> str:
    """The README.md of a classifier's folder: what it is, and how well it does."""

    height, width = spec.size
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            f"A classifier of noisy {width}x{height} pictures with {spec.network.in_channels} channels, to guide a "
            "diffusion model with the same noise schedule, made with [sfumato](https://pypi.org/project/sfumato/).",
            "",
            "```console",
            "$ sfumato sample MODEL --classifier path/to/this/folder --label NAME",
            "```",
            "",
            f"- schedule: {spec.schedule.name}, {spec.schedule.steps} steps"
            + (", zero terminal SNR" if spec.schedule.zero_terminal_snr else ""),
            *(f"- {kind}: {', '.join(names)}" for kind, names in spec.labels.seen.items()),
            f"- data: {spec.data.get('name', 'unknown')}, fingerprint {spec.data.get('fingerprint', 'unknown')}",
            *(f"- {key.replace('_', ' ')}: {value}" for key, value in spec.training.items()),
            "",
            f"Share right among {spec.held_out:,} pictures that training kept back:",
            "",
            *spec.accuracy_table(),
            "",
            f"Weights: {spec.licence}.",
            "",
        ]
    )
