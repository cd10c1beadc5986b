"""Does a model copy what it was trained on? The nearest training picture of every sample, in pixels and in features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.evaluation.copies import Copies, copies
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.intervals import share_interval
from sfumato.evaluation.measures import LEVEL
from sfumato.evaluation.memorisation import Memorisation, Nearness, Pair
from sfumato.evaluation.method import Making, Network, RealSet
from sfumato.evaluation.reference import reference_features
from sfumato.evaluation.samples import Samples
from sfumato.images import fit
from sfumato.seeds import Stream, permutation

__all__ = ["Looked", "digests", "distinct", "in_pixels", "look_for_copies"]

MOST = 50_000  # training pictures that copies are looked for among
QUANTILE = 0.01
SHOWN = 12  # pairs
SIDE = 64  # pixels are compared at this side at most: a copy stays one, and memory is bounded


@dataclass(frozen=True, eq=False)
class Looked:
    """Copies looked for in one space: what was found, and the nearest pairs to look at, uint8 (k, H, W, C) each."""

    copies: Copies
    samples: np.ndarray
    training: np.ndarray


def digests(data: Dataset) -> np.ndarray:
    """(N,) texts, equal where pictures are."""
    return np.array([hashlib.sha256(np.ascontiguousarray(picture).data).hexdigest() for picture in data.images])


def distinct(data: Dataset) -> tuple[np.ndarray, int]:
    """Rows of pictures to look for copies among: each once, `MOST` at most; and how many equal an earlier one."""
    _, rows = np.unique(digests(data), return_index=True)
    kept = rows if len(rows) <= MOST else rows[permutation(len(rows), 0, Stream.SPLIT)[:MOST]]
    return np.sort(kept), len(data) - len(rows)


def in_pixels(images: np.ndarray) -> np.ndarray:
    """Pictures uint8 (n, H, W, C) as rows (n, h·w·C), made smaller where a side is above `SIDE`."""
    height, width = images.shape[1:3]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        images = np.stack([fit(image, size) for image in images])
    return images.reshape(len(images), -1)


def look_for_copies(
    samples: Samples,
    features: np.ndarray,
    making: Making,
    training: Dataset,
    held_out: Dataset | None,
    extractor: Extractor,
    tell: Callable[[str, int, int], None],
) -> tuple[Memorisation, tuple[Looked, ...]]:
    """Find the training picture nearest to each sample.

    Args:
        samples, features: the samples, and their features (n, D).
        making: what made them.
        training: what the model was trained on.
        held_out: what it was not. Without it training pictures are compared with each other, as many as there are
            samples.
        extractor: what made the features.
        tell: called with what is being done, how much of it is done, and of how much.
    """
    rows, duplicates = distinct(training)
    among = "each picture once" if len(rows) + duplicates == len(training) else f"{len(rows)} drawn by seed 0"
    searched = RealSet.of(training, rows, among, True)
    if held_out is None:
        kept = np.linspace(0, len(rows) - 1, min(len(rows), len(samples))).astype(int)
        real, source = RealSet.of(training, rows[kept], "each compared with all the others", True), training
        told = (
            f"Nothing of this kind was held out of training, so {real.n} training pictures, each compared with all the "
            "others, tell how near is near."
        )
    else:
        kept = permutation(len(held_out), 0, Stream.SPLIT)[: len(samples)]
        real, source = RealSet.of(held_out, kept, "drawn by seed 0", False), held_out
        told = f"{real.n} pictures that training never saw ({real.data}) tell how near is near."

    def in_features(data: Dataset, rows: np.ndarray, what: str) -> np.ndarray:
        stage = f"features of {what} pictures"
        return reference_features(extractor, data, rows, lambda done: tell(stage, done, len(rows)))

    def pixels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = np.concatenate([in_pixels(piece) for piece in samples.pieces()])
        return own, in_pixels(training.images[rows]), kept if held_out is None else in_pixels(source.images[kept])

    def seen() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        baseline = kept if held_out is None else in_features(source, kept, "held-out")
        return features, in_features(training, rows, "training"), baseline

    spaces, looked = [], []
    for space, network, both in (
        ("pixels", None, pixels),
        (f"features of {extractor.name}", Network.of(extractor), seen),
    ):
        own, theirs, others = both()
        tell(f"looking for copies in {space}", 0, 1)
        out, held = (others, None) if held_out is None else (None, others)
        found = copies(own, theirs, held, left_out=out, quantile=max(QUANTILE, 1 / len(others)))
        pairs = found.order[:SHOWN]
        spaces.append(_told(space, found, pairs, rows, making, searched, real, network))
        looked.append(Looked(found, samples.take(pairs), training.images[rows[found.nearest[pairs]]]))
        tell(f"looking for copies in {space}", 1, 1)
    return Memorisation(tuple(spaces), told, duplicates), tuple(looked)


def _told(
    space: str,
    found: Copies,
    pairs: np.ndarray,
    rows: np.ndarray,
    making: Making,
    training: RealSet,
    real: RealSet,
    network: Network | None,
) -> Nearness:
    return Nearness(
        space=space,
        share=share_interval(found.distance <= found.threshold, LEVEL),
        real_share=found.held_out_share,
        quantile=found.quantile,
        threshold=found.threshold,
        chance=found.chance,
        authenticity=share_interval(found.authentic, LEVEL),
        real_authenticity=share_interval(found.held_out_authentic, LEVEL),
        median=float(np.median(found.distance)),
        real_median=float(np.median(found.held_out_distance)),
        nearest=tuple(
            Pair(making.first_seed + int(i), int(rows[found.nearest[i]]), float(found.distance[i])) for i in pairs
        ),
        making=making,
        training=training,
        real=real,
        features=network,
    )
