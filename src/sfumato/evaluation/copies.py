"""Does a model make new pictures, or those that it was trained on? Nearest neighbours say, on features or on pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.feature_sets import feature_pair
from sfumato.evaluation.neighbours import nearest

__all__ = ["Copies", "copies"]


@dataclass(frozen=True, eq=False)
class Copies:
    """How near samples are to training pictures, beside how near real pictures are that are not among them.

    Attributes:
        nearest: (n,) which training picture is nearest to each sample.
        distance: (n,) to it, Euclidean.
        held_out_nearest, held_out_distance: (h,) the same of held-out pictures, or of those left out one at a time.
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
    def chance(self) -> float:
        """How likely it is that as many samples lie within the threshold, if they are as good as held-out pictures.

        Then all orders of their distances are equally likely. The threshold is the k-th least distance of h held-out
        pictures, and x of n samples come before it where at least x of the first x + k - 1 of all are samples: a tail
        of the hypergeometric distribution. Exact but for equal distances, and for pictures left out one at a time,
        whose distances hang together a little.
        """
        n, h = len(self.distance), len(self.held_out_distance)
        within = int((self.distance <= self.threshold).sum())
        first = within + int((self.held_out_distance < self.threshold).sum())
        ways = [_log_choose(n, x) + _log_choose(h, first - x) for x in range(max(within, first - h), min(n, first) + 1)]
        return min(1.0, sum(math.exp(way - _log_choose(n + h, first)) for way in ways))

    @property
    def order(self) -> np.ndarray:
        """(n,) the samples, nearest to training first: show `order[i]` beside training picture `nearest[order[i]]`."""
        return np.argsort(self.distance, kind="stable")


def copies(
    samples: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray | None,
    *,
    left_out: np.ndarray | None = None,
    quantile: float = 0.01,
) -> Copies:
    """Find the training picture that is nearest to each sample, and judge the distance.

    By distance alone pictures of common things would seem copied: held-out pictures tell how near one comes without
    having seen them. Where nothing was held out, training pictures themselves tell it, each compared with all the
    others: a model that makes new pictures comes no nearer than that. Authenticity (Alaa et al. 2022, "How faithful is
    your synthetic data?") measures by how far apart training pictures are just there.

    Args:
        samples: (n, D) features, or pixels flattened to rows.
        training: (m, D) of all pictures trained on, m ≥ 2. Duplicates among them are at distance 0 of each other, so no
            sample counts as their copy by authenticity: drop them first.
        held_out: (h, D) of real pictures of the same kind, kept from training; or None.
        left_out: (h,) numbers of training pictures, in the place of `held_out`. Needs m ≥ 3.
        quantile: of held-out distances, at least 1/h.

    Raises:
        InputError: for features of different widths, NaN, empty sets, or too few held-out pictures for the quantile.
    """
    if (held_out is None) == (left_out is None):
        raise InputError("copies needs held-out pictures, or training pictures to leave out, and not both")
    names = ("the samples' features", "the training features", "the held-out features")
    samples, training = feature_pair(samples, training, names=names[:2])
    if held_out is None:
        assert left_out is not None
        own = np.asarray(left_out).reshape(-1, 1)
        held_out = training[own[:, 0]]
    else:
        own = np.empty((len(held_out), 0), np.int64)
    held_out, training = feature_pair(held_out, training, names=(names[2], names[1]))
    least = 2 if left_out is None else 3
    if len(training) < least:
        raise InputError(f"the training features must be of {least} pictures at least: one has no nearest other")
    if not 1 / len(held_out) <= quantile <= 1:
        raise InputError(
            f"quantile must be from 1/{len(held_out)} (one of the held-out pictures) to 1, not {quantile}: take more "
            "held-out pictures or a larger quantile"
        )
    found, distance = nearest(samples, training)
    held_out_found, held_out_distance = nearest(held_out, training, skip=own)
    return Copies(
        nearest=found,
        distance=distance,
        held_out_nearest=held_out_found,
        held_out_distance=held_out_distance,
        quantile=quantile,
        threshold=float(np.quantile(held_out_distance, quantile, method="inverted_cdf")),
        authentic=_authentic(found, distance, training),
        held_out_authentic=_authentic(held_out_found, held_out_distance, training, own),
    )


def _authentic(
    found: np.ndarray, distance: np.ndarray, training: np.ndarray, own: np.ndarray | None = None
) -> np.ndarray:
    """Whether each lies farther from the training picture `found` than that one's nearest other, `own` not counting."""
    asked = found[:, None] if own is None else np.concatenate([found[:, None], own], axis=1)
    asked, which = np.unique(asked, axis=0, return_inverse=True)  # only these need their own neighbour, once each
    between = nearest(training[asked[:, 0]], training, skip=asked)[1]
    return distance >= between[which.ravel()]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
