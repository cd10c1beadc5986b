"""Pictures that a training keeps back, and how often a classifier is right about them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sfumato import seeds
from sfumato.data.dataset import Dataset
from sfumato.diffusion import forward
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.models.classifier import Accuracy
from sfumato.networks.classifier import NoisyClassifier
from sfumato.networks.config import NO_LABEL
from sfumato.scaling import to_unit

__all__ = ["LEVELS", "accuracy", "chance", "split"]

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # times at which the held-out pictures are classified


def split(data: Dataset, share: float, seed: int, labelled: bool = True) -> tuple[Dataset, Dataset]:
    """The pictures to learn from, and the `share` kept back, both drawn from the labelled ones, or from all.

    Raises `InputError` when there are too few.
    """
    usable = np.flatnonzero((data.labels != NO_LABEL).any(1)) if labelled else np.arange(len(data))
    count = round(share * len(usable))
    if not 1 <= count < len(usable):
        raise InputError(
            f"{data.name} has {len(usable):,}{' labelled' if labelled else ''} pictures; keeping back a share of "
            f"{share:g} leaves {len(usable) - count:,} to learn from and {count:,} to be tested on. Both need at "
            "least 1."
        )
    order = usable[seeds.permutation(len(usable), seed, seeds.Stream.SPLIT)]
    return data.subset(np.sort(order[count:])), data.subset(np.sort(order[:count]))


@torch.no_grad()
def accuracy(
    network: NoisyClassifier, held: Dataset, schedule: NoiseSchedule, seed: int, device: torch.device, batch: int = 256
) -> tuple[Accuracy, ...]:
    """How often the likeliest class is the right one, for each kind of label, at the times `LEVELS`.

    The noise on picture i is a function of (seed, i), the same at every level. A kind that no picture has is left out.
    """
    network.to(device)
    x0, labels = to_unit(held.images), torch.from_numpy(held.labels)
    noise = seeds.noise([(seed, i) for i in range(len(held))], x0.shape[1:], seeds.Stream.HELD_OUT)
    results = []
    for t in LEVELS:
        xt = forward.network_input(schedule, forward.noisy(schedule, x0, t, noise), t)
        said = [torch.stack([k.argmax(1) for k in network(part.to(device), t)], 1).cpu() for part in xt.split(batch)]
        right = torch.cat(said) == labels
        results.append(Accuracy(t, math.exp(schedule.log_snr(t)), _shares(held, right)))
    return tuple(results)


def chance(data: Dataset, held: Dataset) -> dict[str, float]:
    """For each kind of label, the share of `held` told right by always saying the most frequent class of `data`."""
    most = [int(np.bincount(c[c != NO_LABEL], minlength=1).argmax()) for c in data.labels.T]
    return _shares(held, torch.from_numpy(held.labels == np.asarray(most)))


def _shares(data: Dataset, right: Tensor) -> dict[str, float]:
    """For each kind of label that occurs, how many of the labelled pictures are `right` (N, K)."""
    named = torch.from_numpy(data.labels != NO_LABEL)
    return {
        kind: right[named[:, column], column].double().mean().item()
        for column, kind in enumerate(data.kinds)
        if named[:, column].any()
    }
