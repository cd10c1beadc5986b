"""`Classifier`: what `sfumato.load_classifier` returns. It says how likely labels are for a noisy picture."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sfumato.devices import find_device
from sfumato.diffusion.forward import network_input
from sfumato.guidance.classifier import LogProbability
from sfumato.models.classifier import ClassifierSpec, load_classifier_folder
from sfumato.networks.classifier import NoisyClassifier, label_log_probability

__all__ = ["Classifier", "load_classifier"]


class Classifier:
    """A trained classifier of noisy pictures, ready to guide a model. Make one with `sfumato.load_classifier`.

    Attributes:
        spec: everything `classifier.json` says.
        network: the classifier, in evaluation mode.
        schedule: of the noise that it knows.
    """

    def __init__(self, spec: ClassifierSpec, network: NoisyClassifier, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.schedule = spec.schedule.build()

    def logits(self, x: Tensor, t: float | Tensor) -> list[Tensor]:
        """For each kind of label, unnormalised log-probabilities (N, classes) for pictures x_t (N, C, H, W)."""
        return self.network(network_input(self.schedule, x, t), t)

    def log_probability(self, labels: Tensor) -> LogProbability:
        """(x_t, t) -> log p(labels|x_t) for these labels (N, K), -1 where a kind is not named."""
        labels = labels.to(self.device)
        return lambda x, t: label_log_probability(self.logits(x, t), labels)


def load_classifier(folder: str | Path, device: str = "cpu") -> Classifier:
    """Load a classifier's folder, as `sfumato train-classifier` writes it.

    Raises:
        InputError: when it is none or cannot be understood; it says which file and why.
    """
    spec, network = load_classifier_folder(Path(folder))
    return Classifier(spec, network, find_device(device))
