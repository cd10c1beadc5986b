"""Does a model make new pictures, or those that it was trained on? Nearest neighbours say, on features or on pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.feature_sets import feature_pair
from sfumato.evaluation.neighbours import nearest

__all__ = ["Copies", "copies"]


@dataclass(frozen=True, eq=False)
class Copies:
    """How near samples are to training pictures, beside how near real pictures are that training never saw.

    Attributes:
        nearest: (n,) which training picture is nearest to each sample.
        distance: (n,) to it, Euclidean.
        held_out_nearest, held_out_distance: (h,) the same of held-out pictures.
        quantile: as asked.
        threshold: the distance that this share of the held-out pictures does not exceed.
        authentic: (n,) False where a sample is nearer to its training picture than any other training picture is.
        held_out_authentic: (h,) the same of held-out pictures.
    """

    nearest: np.ndarray
    distance: np.ndarray
    held_out_nearest: np.ndarray
    held_out_distance: np.ndarray
    quantile: float
    threshold: float
    authentic: np.ndarray
    held_out_authentic: np.ndarray

    @property
    def share(self) -> float:
        """Of samples within the threshold: far above `held_out_share` means memorised pictures."""
        return float((self.distance <= self.threshold).mean())

    @property
    def held_out_share(self) -> float:
        """Of held-out pictures within the threshold: the quantile, or a little more where distances are equal."""
        return float((self.held_out_distance <= self.threshold).mean())

    @property
    def authenticity(self) -> float:
        """Share of authentic samples: far below `held_out_authenticity` means memorised pictures."""
        return float(self.authentic.mean())

    @property
    def held_out_authenticity(self) -> float:
        """Share of held-out pictures that pass for authentic: of new points on a line it is a third."""
        return float(self.held_out_authentic.mean())

    @property
    def order(self) -> np.ndarray:
        """(n,) the samples, nearest to training first: show `order[i]` beside training picture `nearest[order[i]]`."""
        return np.argsort(self.distance, kind="stable")


def copies(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray, *, quantile: float = 0.01) -> Copies:
    """Find the training picture that is nearest to each sample, and judge the distance.

    By distance alone pictures of common things would seem copied: held-out pictures tell how near one comes without
    having seen them. Authenticity (Alaa et al. 2022, "How faithful is your synthetic data?") measures by how far apart
    training pictures are just there.

    Args:
        samples: (n, D) features, or pixels flattened to rows.
        training: (m, D) of all pictures trained on, m ≥ 2. Duplicates among them are at distance 0 of each other, so no
            sample counts as their copy by authenticity: drop them first.
        held_out: (h, D) of real pictures of the same kind, kept from training.
        quantile: of held-out distances, at least 1/h.

    Raises:
        InputError: for features of different widths, NaN, empty sets, or too few held-out pictures for the quantile.
    """
    names = ("the samples' features", "the training features", "the held-out features")
    samples, training = feature_pair(samples, training, names=names[:2])
    held_out, training = feature_pair(held_out, training, names=(names[2], names[1]))
    if len(training) < 2:
        raise InputError("the training features must be of 2 pictures at least: one has no nearest other")
    if not 1 / len(held_out) <= quantile <= 1:
        raise InputError(
            f"quantile must be from 1/{len(held_out)} (one of the held-out pictures) to 1, not {quantile}: take more "
            "held-out pictures or a larger quantile"
        )
    found, distance = nearest(samples, training)
    held_out_found, held_out_distance = nearest(held_out, training)
    return Copies(
        nearest=found,
        distance=distance,
        held_out_nearest=held_out_found,
        held_out_distance=held_out_distance,
        quantile=quantile,
        threshold=float(np.quantile(held_out_distance, quantile, method="inverted_cdf")),
        authentic=_authentic(found, distance, training),
        held_out_authentic=_authentic(held_out_found, held_out_distance, training),
    )


def _authentic(found: np.ndarray, distance: np.ndarray, training: np.ndarray) -> np.ndarray:
    asked, which = np.unique(found, return_inverse=True)  # only these training pictures need their own neighbour
    between = nearest(training[asked], training, skip=asked)[1]
    return distance >= between[which]
