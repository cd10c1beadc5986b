"""A foreign model, understood: what a model folder is written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sfumato.conditioning.labels import LabelSet
from sfumato.models.parts import NO_PARTS, Parts
from sfumato.models.spec import ModelSpec, SamplingDefaults

__all__ = ["TEXT_DROPOUT", "Converted", "class_labels", "defaults_for"]

TEXT_DROPOUT = 0.1  # share of the texts that Stable Diffusion's training left out; no file says it


@dataclass(frozen=True)
class Converted:
    """A model that is not yet saved.

    Attributes:
        spec: its description.
        tensors: of its network.
        which: which weights these are: "average" or "raw".
        parts: autoencoder and text encoder.
        notes: what was assumed or left out, for people.
    """

    spec: ModelSpec
    tensors: Mapping[str, Tensor]
    which: str
    parts: Parts = NO_PARTS
    notes: tuple[str, ...] = ()


def class_labels(classes: tuple[int, ...]) -> LabelSet:
    """Classes by their numbers, each as frequent as the others; training never left them out."""
    if not classes:
        return LabelSet()
    (count,) = classes
    return LabelSet({"class": tuple(map(str, range(count)))}, tuple(((i,), 1) for i in range(count)))


def defaults_for(text: bool) -> SamplingDefaults:
    """How such a model is sampled: Stable Diffusion's guidance where it reads texts."""
    return SamplingDefaults(guidance_scale=7.5 if text else 1.0)
