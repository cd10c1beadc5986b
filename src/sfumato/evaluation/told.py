"""Pictures of a data set as a model diffuses them, with what its network is told of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.networks.condition import Condition
from sfumato.networks.config import NO_LABEL
from sfumato.seeds import Stream, permutation
from sfumato.solvers import Denoiser

__all__ = ["ToldPictures"]


@dataclass(frozen=True, eq=False)
class ToldPictures:
    """Some pictures of a data set before a model of pixels.

    Attributes:
        model: whose network is asked.
        data: where the pictures are.
        rows: (n,) their numbers in it.
    """

    model: Model
    data: Dataset
    rows: np.ndarray

    @classmethod
    def drawn(cls, model: Model, data: Dataset, n: int, seed: int = 0) -> ToldPictures:
        """n pictures, drawn by the seed.

        Raises `InputError` for a model whose bits are not those of pictures, pictures of another size than it makes,
        and for fewer than 2 of them (which have no standard error) or more than there are.
        """
        spec = model.spec
        if spec.autoencoder is not None:
            raise InputError(
                f"model {spec.name!r} diffuses latents: bits would be those of latents, which say nothing of the "
                "pictures and compare with no other model. Likelihoods are for models of pixels"
            )
        if spec.fills_in:
            raise InputError(f"model {spec.name!r} fills in parts of pictures: it has no likelihood of whole ones")
        made = (*spec.size, spec.channels)
        if data.images.shape[1:] != made:
            raise InputError(f"{data.name} has pictures of {data.images.shape[1:]}, the model makes {made}")
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 2 <= n <= len(data):
            raise InputError(f"n is a whole number from 2 to {len(data)}, the pictures of {data.name}, not {n!r}")
        return cls(model, data, np.sort(permutation(len(data), seed, Stream.SPLIT)[:n]))

    @property
    def told(self) -> str:
        """What the network is told of each picture, in words."""
        return self._known + ("; no guess of its own" if self.model.spec.self_conditioning else "")

    @property
    def _known(self) -> str:
        if self.model.reader is not None:
            return "its caption" if self.data.captions else "an empty text, as the data has no captions"
        kinds = list(self.model.spec.labels.kinds)
        shared = [kind for kind in kinds if kind in self.data.kinds]
        if shared:
            return f"its label{'s' * (len(shared) > 1)}: {', '.join(shared)}"
        return "nothing, as the data has no such labels" if kinds else "nothing"

    def facts(self) -> dict[str, Any]:
        """Which pictures, which model, and what it is told: of what a number made of them depends on."""
        spec = self.model.spec
        return {
            "n": len(self.rows),
            "pictures": len(self.data),
            "data": self.data.name,
            "data_fingerprint": self.data.fingerprint,
            "model": spec.name,
            "weights": spec.which_weights,
            "weights_sha256": spec.weights.sha256 if spec.weights else "",
            "told": self.told,
        }

    def x0(self, part: slice) -> Tensor:
        """(N, C, H, W) of some of the n pictures, on the device."""
        return self.model.encoded(self.data.images[self.rows[part]])

    def pairs(self, part: slice, seed: int) -> list[tuple[int, int]]:
        """(seed, number in the data) of some of the n pictures: their noise, whichever others are looked at."""
        return [(seed, int(row)) for row in self.rows[part]]

    def denoiser(self, part: slice) -> Denoiser:
        """(x_t, t) -> x̂0 of some of the n pictures, each told its own: no guidance, differentiable in x_t."""
        condition = self.condition(part)
        return lambda x, t: self.model.denoised(x, t, condition)

    def condition(self, part: slice) -> Condition:
        """What the network is told of some of the n pictures, on the device."""
        model, data, rows = self.model, self.data, self.rows[part]
        if model.reader is not None:
            texts = [data.captions[row] for row in rows] if data.captions else [""] * len(rows)
            condition = model.reader.learn(texts)
        else:
            condition = Condition(labels=torch.from_numpy(_labels(model.spec.labels, data, rows)))
        return condition.to(model.device)


def _labels(labels: LabelSet, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """(n, K) in the model's numbering, found by names: -1 where the data has no label or the model no such class."""
    found = np.full((len(rows), len(labels.kinds)), NO_LABEL, np.int64)
    columns = list(data.kinds)
    for column, (kind, names) in enumerate(labels.kinds.items()):
        if kind in columns:
            own = [names.index(name) if name in names else NO_LABEL for name in data.kinds[kind]]
            found[:, column] = np.array([*own, NO_LABEL])[data.labels[rows, columns.index(kind)]]
    return found
