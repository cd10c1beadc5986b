"""The problems by name, with the classifier that one of them needs."""

from __future__ import annotations

import json
from pathlib import Path

from bench.coverage.digits import DigitNet, accuracy, digits, trained
from bench.coverage.gaussians import Gaussians
from bench.coverage.problem import Problem
from bench.coverage.stacked import StackedMnist
from safetensors.torch import load_file, save_file

from sfumato.files import atomic_path, write_text

__all__ = ["PROBLEMS", "classifier_accuracy", "name_digits", "open_problem"]

PROBLEMS = ("gaussians", "stacked-mnist")
_WEIGHTS, _FACTS = "digits.safetensors", "digits.json"


def name_digits(folder: Path) -> None:
    """Train the classifier of digits, unless the folder has it."""
    if (folder / _FACTS).exists():
        return
    net = trained(*digits("train"))
    with atomic_path(folder / _WEIGHTS) as temporary:
        save_file(net.state_dict(), temporary)
    write_text(folder / _FACTS, json.dumps({"accuracy": accuracy(net, *digits("test"))}))


def classifier_accuracy(folder: Path) -> float:
    """On MNIST's test set."""
    return json.loads((folder / _FACTS).read_text())["accuracy"]


def open_problem(name: str, folder: Path) -> Problem:
    """One of `PROBLEMS`; the folder has the classifier."""
    if name == "gaussians":
        return Gaussians()
    classifier = DigitNet()
    classifier.load_state_dict(load_file(folder / _WEIGHTS))
    return StackedMnist(digits("train")[0], digits("test")[0], classifier.eval().requires_grad_(False))
