"""`Guidance`: what steers a sample besides its label and the guidance scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.errors import InputError, nearest
from sfumato.generation.classifier import Classifier
from sfumato.guidance.classifier import check_classifier_scale
from sfumato.guidance.interval import check_interval
from sfumato.guidance.rescale import check_rescale
from sfumato.networks.config import NO_LABEL

if TYPE_CHECKING:
    from sfumato.generation.model import Model

__all__ = ["NO_GUIDANCE", "Guidance"]


@dataclass(frozen=True)
class Guidance:
    """How a sample is guided. The default is classifier-free guidance away from no label, at all times.

    Attributes:
        negative: labels or a prompt to go away from instead of from none: as for `Model.sample`.
        interval: (low, high) times between which there is guidance of any kind; default: all.
        rescale: φ of classifier-free guidance and autoguidance; 0 is none.
        weak: a weaker model to go away from (autoguidance), instead of the model itself without labels.
        classifier: of noisy pictures, to follow towards the label as well.
        classifier_scale: s of classifier guidance; default: 1.
        together: both halves of classifier-free guidance in one call of the network; two calls need less memory.

    Raises:
        InputError: for numbers out of range, and for what would be left unused without a word.
    """

    negative: str | Sequence[str] | None = None
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    weak: Model | None = None
    classifier: Classifier | None = None
    classifier_scale: float | None = None
    together: bool = True

    def __post_init__(self) -> None:
        if self.interval is not None:
            check_interval(*self.interval)
        check_rescale(self.rescale)
        if self.negative is not None and self.weak is not None:
            raise InputError("a sample goes away from a negative label or from a weaker model, not from both")
        if self.classifier_scale is not None:
            check_classifier_scale(self.classifier_scale)
            if self.classifier is None:
                raise InputError(f"classifier_scale {self.classifier_scale:g} is given, but no classifier")

    @property
    def s(self) -> float:
        """Scale of classifier guidance."""
        return 1.0 if self.classifier_scale is None else self.classifier_scale

    def check_fits(self, model: Model) -> None:
        """Raise `InputError` unless weaker model and classifier are of the model's kind, naming what differs."""
        if self.weak is not None:
            _check_alike("weaker model", self.weak, model)
            if list(self.weak.spec.labels.kinds.items()) != list(model.spec.labels.kinds.items()):
                raise InputError(f"the weaker model {self.weak.spec.name!r} has other labels than {model.spec.name!r}")
            if (self.weak.spec.text is None) != (model.spec.text is None):
                raise InputError("of the model and its weaker model one reads texts and the other does not")
        if self.classifier is not None:
            _check_alike("classifier", self.classifier, model)
            own, other = model.spec.labels.kinds, self.classifier.spec.labels.kinds
            if own and list(own.items()) != list(other.items()):
                raise InputError(
                    f"the classifier {self.classifier.spec.name!r} tells other labels ({', '.join(other)}) than "
                    f"{model.spec.name!r} was trained with ({', '.join(own)}), or other classes of them. Train it on "
                    "the model's data."
                )

    def check_labels(self, rows: np.ndarray) -> None:
        """Raise `InputError` unless the classifier knows the labels (N, K), and there are some to guide towards."""
        if self.classifier is None:
            return
        if (rows == NO_LABEL).all():
            raise InputError("a classifier guides towards a label; there is none")
        labels, name = self.classifier.spec.labels, self.classifier.spec.name
        for column, (kind, names) in enumerate(labels.kinds.items()):
            wanted = {names[i] for i in rows[:, column] if i != NO_LABEL}
            for unseen in sorted(wanted - set(labels.seen[kind])):
                raise InputError(f"the classifier {name!r} never saw {unseen!r}. {nearest(unseen, labels.seen[kind])}")

    def facts(self) -> dict[str, Any]:
        """What is in use, as plain values under the names of `Model.sample`."""
        facts: dict[str, Any] = {}
        if self.negative is not None:
            facts["negative"] = self.negative if isinstance(self.negative, str) else list(self.negative)
        if self.interval is not None:
            facts["guidance_interval"] = list(self.interval)
        if self.rescale:
            facts["guidance_rescale"] = self.rescale
        if self.weak is not None:
            facts["weak"] = _named(self.weak)
        if self.classifier is not None:
            facts |= {"classifier": _named(self.classifier), "classifier_scale": self.s}
        return facts

    def __str__(self) -> str:
        """In words, for what `sfumato sample` prints; empty for the default."""
        parts = []
        if self.negative is not None:
            parts.append(f"away from {self.negative if isinstance(self.negative, str) else ', '.join(self.negative)}")
        if self.weak is not None:
            parts.append(f"away from the weaker model {self.weak.spec.name}")
        if self.rescale:
            parts.append(f"rescaled by {self.rescale:g}")
        if self.classifier is not None:
            parts.append(f"classifier {self.classifier.spec.name} with scale {self.s:g}")
        if self.interval is not None:
            parts.append(f"for times from {self.interval[0]:g} to {self.interval[1]:g}")
        return ", ".join(parts)


NO_GUIDANCE = Guidance()


def _check_alike(what: str, other: Model | Classifier, model: Model) -> None:
    for name, theirs, ours in (
        ("schedule", other.spec.schedule, model.spec.schedule),
        ("size", other.spec.size, model.spec.size),
        ("number of channels", other.spec.network.in_channels, model.spec.network.in_channels),
        ("device", other.device.type, model.device.type),
    ):
        if theirs != ours:
            raise InputError(
                f"the {what} {other.spec.name!r} has another {name} than the model {model.spec.name!r}: {theirs}, not "
                f"{ours}. Choose one that was made for this model."
            )


def _named(what: Model | Classifier) -> dict[str, str | None]:
    return {"name": what.spec.name, "weights_sha256": what.spec.weights.sha256 if what.spec.weights else None}
