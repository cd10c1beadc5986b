"""How far a model's pictures are from real ones: FD-EffNetLite0, beside what real pictures reach among themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.evaluation.frechet import frechet_distance
from sfumato.generation.model import Model
from sfumato.generation.request import Request
from sfumato.seeds import Stream, permutation

__all__ = ["MAX_PICTURES", "Score", "evaluate", "halves"]

MAX_PICTURES = 5_000


@dataclass(frozen=True)
class Score:
    """A distance and everything it depends on."""

    metric: str
    value: float
    floor: float  # the same distance between two halves of the real pictures
    n: int  # pictures on each side of every comparison
    data: str
    data_fingerprint: str
    model: str
    weights: str
    seeds: str
    labels: str
    solver: str
    steps: int
    network_calls: int
    spacing: str
    guidance_scale: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def __str__(self) -> str:
        return (
            f"{self.metric} = {self.value:.2f}   (floor, real against real: {self.floor:.2f})\n"
            f"  {self.n} samples of {self.model} ({self.weights} weights) against {self.n} of {self.data}; "
            f"floor: the other {self.n}\n"
            f"  seeds {self.seeds}, labels {self.labels}; solver {self.solver}, {self.steps} steps "
            f"({self.network_calls} network calls), spacing {self.spacing}, guidance scale {self.guidance_scale:g}\n"
            f"  data {self.data_fingerprint[:16]}; comparable only at equal n and metric, and not with FID"
        )


def halves(data: Dataset, limit: int = MAX_PICTURES) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint random sets of equal size, at most `limit` each: (n, H, W, C) uint8."""
    n = min(len(data) // 2, limit)
    if n < 2:
        raise InputError(
            f"a comparison needs at least 2 pictures on each side; {data.name} has {len(data)}, n is {limit}"
        )
    order = permutation(len(data), 0, Stream.SPLIT)
    return data.images[np.sort(order[:n])], data.images[np.sort(order[n : 2 * n])]


def evaluate(
    model: Model,
    data: Dataset,
    features: Callable[[np.ndarray], np.ndarray],
    name: str,
    *,
    n: int | None = None,
    seed: int = 0,
    request: Request | None = None,
    progress: Callable[[int], None] | None = None,
) -> Score:
    """Fréchet distance of n samples to n real pictures, beside the distance of n other real pictures to them.

    Args:
        model: what makes the samples, with labels drawn as often as in its training data.
        data: real pictures of the model's size.
        features: pictures -> features (n, D).
        name: of the features; the metric becomes FD-name.
        n: pictures on each side; default: half of the data, at most 5,000. Few make the distance larger.
        seed: the samples have the seeds seed … seed + n - 1.
        request: how to sample; default: the model's defaults.
        progress: called with the number of samples made.
    """
    request = request or Request()
    made = (*(request.size or model.spec.size), model.spec.channels)
    if data.images.shape[1:] != made:
        raise InputError(f"{data.name} has pictures of {data.images.shape[1:]}, the model makes {made}")
    reference, other = halves(data, MAX_PICTURES if n is None else n)
    n = len(reference)
    table, asked = model.table(request), model.ask(range(seed, seed + n))
    samples = model.make(request, n, seed=seed, progress=progress)
    target = features(reference)
    return Score(
        metric=f"FD-{name}",
        value=frechet_distance(features(samples.array), target),
        floor=frechet_distance(features(other), target),
        n=n,
        data=data.name,
        data_fingerprint=data.fingerprint,
        model=model.spec.name,
        weights=model.spec.which_weights,
        seeds=f"{seed}…{seed + n - 1}",
        labels=_asked_for(model),
        solver=table.name,
        steps=table.steps,
        network_calls=table.calls,
        spacing=table.spacing,
        guidance_scale=model.guidance_scale(request, asked),
    )


def _asked_for(model: Model) -> str:
    text = model.spec.text
    if text is not None:
        return "prompts as in the training data" if text.examples else "no prompts"
    return "as in the training data" if model.spec.labels.kinds else "none"
