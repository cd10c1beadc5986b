"""Everything that a measured number depends on. What is not known in full has no number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from sfumato._version import __version__
from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.samples import identity
from sfumato.generation.order import Order
from sfumato.solvers import Table

__all__ = ["Making", "Method", "Network", "RealSet"]


@dataclass(frozen=True)
class _Whole:
    """Facts none of which may be left empty."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) in ("", None):
                raise InputError(f"a number needs its {field.name}: without it nobody can tell what was measured")


@dataclass(frozen=True)
class Making(_Whole):
    """What made the samples.

    Attributes:
        model: its name.
        weights, weights_sha256: which, "average" or "raw", and of the file.
        solver: with its options.
        steps, network_calls, spacing: of the solver; a guided call counts once.
        table_sha256: of the solver's table, all its numbers.
        guidance_scale: w.
        guidance: what else guides, in words.
        labels: how labels or prompts came about.
        size: (height, width).
        clip: whether x̂0 was held within the range of pictures, in words.
        dtype: number type of the weights.
        first_seed, n: the samples have the seeds first_seed … first_seed + n - 1.
        sfumato: version.
    """

    model: str
    weights: str
    weights_sha256: str
    solver: str
    steps: int
    network_calls: int
    spacing: str
    table_sha256: str
    guidance_scale: float
    guidance: str
    labels: str
    size: tuple[int, int]
    clip: str
    dtype: str
    first_seed: int
    n: int
    sfumato: str

    @classmethod
    def of(cls, order: Order, table: Table) -> Making:
        """Of what is to be made. Raises `InputError` for a model that was never saved."""
        facts, request = identity(order, table), order.request
        clip = order.model.spec.autoencoder is None if request.clip is None else request.clip
        threshold = request.dynamic_threshold
        return cls(
            model=facts["model"],
            weights=order.model.spec.which_weights,
            weights_sha256=facts["weights_sha256"],
            solver=table.name,
            steps=table.steps,
            network_calls=table.calls,
            spacing=table.spacing,
            table_sha256=facts["table"],
            guidance_scale=order.scale,
            guidance=str(request.guidance) or "nothing else",
            labels=facts["labels"],
            size=request.size or order.model.spec.size,
            clip=("yes" if clip else "no") if threshold is None else f"dynamic thresholding at {threshold:g} %",
            dtype=facts["dtype"],
            first_seed=order.seeds[0],
            n=len(order.seeds),
            sfumato=__version__,
        )

    @property
    def seeds(self) -> str:
        return f"{self.first_seed}…{self.first_seed + self.n - 1}"


@dataclass(frozen=True)
class RealSet(_Whole):
    """Some pictures of a data set.

    Attributes:
        data, fingerprint: of the data set.
        count: pictures in it.
        n: of these.
        chosen: how they were, in words.
        sha256: of the pictures that were chosen, in their order.
        training: whether the model was trained on the data set.
    """

    data: str
    fingerprint: str
    count: int
    n: int
    chosen: str
    sha256: str
    training: bool

    @classmethod
    def of(cls, data: Dataset, rows: np.ndarray, chosen: str, training: bool) -> RealSet:
        """Of the pictures at `rows`."""
        digest = hashlib.sha256()
        for row in rows:
            digest.update(np.ascontiguousarray(data.images[row]).data)
        return cls(data.name, data.fingerprint, len(data), len(rows), chosen, digest.hexdigest(), training)


@dataclass(frozen=True)
class Network(_Whole):
    """What made the features: `Extractor` without its functions."""

    name: str
    sha256: str
    preprocessing: str
    settings: str

    @classmethod
    def of(cls, extractor: Extractor) -> Network:
        return cls(extractor.name, extractor.sha256, extractor.preprocessing, extractor.settings or "none")


@dataclass(frozen=True)
class Method(_Whole):
    """What was compared with what, and how it was looked at."""

    making: Making
    reference: RealSet
    features: Network
