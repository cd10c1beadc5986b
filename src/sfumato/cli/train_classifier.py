"""`sfumato train-classifier`: the options are the fields of `ClassifierConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.training.classifier_config import ClassifierConfig

__all__ = ["TrainClassifier"]


@dataclass(frozen=True)
class TrainClassifier(ClassifierConfig):
    """Train a classifier of noisy pictures that can guide a model: sfumato sample MODEL --classifier OUT."""

    def run(self) -> None:
        """Train, and say how often it is right at which noise."""
        from sfumato.training.classifier import train_classifier

        spec = train_classifier(self)
        print(f"Share right among {spec.held_out:,} pictures kept back, at time t:")
        print("\n".join(spec.accuracy_table()))
        print(f"classifier: {self.out}")
