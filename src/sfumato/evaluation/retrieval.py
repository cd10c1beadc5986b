"""Does a picture show what was asked for? It does so far as its nearest real pictures are of that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfumato.errors import InputError

__all__ = ["Retrieval", "retrieval"]


@dataclass(frozen=True)
class Retrieval:
    """How well pictures find what they were asked to show among many things.

    Attributes:
        top1, top5: share whose right name is the nearest of all names, or one of the nearest five.
        median_rank: of the right name; 1 is the best.
        names: how many there are to choose from: by chance top1 is 1/names, top5 5/names, the median rank the middle.
        n: pictures.
    """

    top1: float
    top5: float
    median_rank: float
    names: int
    n: int


def retrieval(
    features: np.ndarray,
    asked: np.ndarray,
    gallery: np.ndarray,
    shown: np.ndarray,
    barred: np.ndarray | None = None,
) -> Retrieval:
    """Rank names by the cosine of a picture's features to those of the nearest real picture of each name.

    Args:
        features: (n, D) of the pictures.
        asked: (n,) the name that each was to show, as a number.
        gallery: (m, D) of real pictures.
        shown: (m,) what each shows.
        barred: (n, m) bool, real pictures that a picture is not compared with, such as its own model. A name all of
            whose pictures are barred is none of its choices.

    Raises:
        InputError: for arrays that do not belong together, or a picture whose right name is not among its choices.
    """
    one, other = (np.asarray(f, np.float64) for f in (features, gallery))
    barred = np.zeros((len(one), len(other)), bool) if barred is None else barred
    shapes = (one.shape[1:] == other.shape[1:], len(asked) == len(one), len(shown) == len(other))
    if one.ndim != 2 or not all(shapes) or barred.shape != (len(one), len(other)) or not len(one):
        raise InputError(
            f"features {one.shape} of {len(asked)} pictures and {other.shape} of {len(shown)}, barred {barred.shape}: "
            "these do not belong together"
        )
    one, other = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (one, other))
    likeness = np.where(barred, -np.inf, one @ other.T)
    names, column = np.unique(shown, return_inverse=True)
    best = np.full((len(one), len(names)), -np.inf)
    for name in range(len(names)):
        best[:, name] = likeness[:, column == name].max(1)
    right = np.searchsorted(names, asked).clip(max=len(names) - 1)
    own = best[np.arange(len(one)), right]
    if (names[right] != asked).any() or np.isinf(own).any():
        raise InputError("a picture was asked to show what no real picture that it is compared with shows")
    rank = 1 + (best > own[:, None]).sum(1)
    choices = round(float(np.isfinite(best).sum(1).mean()))
    return Retrieval(float((rank == 1).mean()), float((rank <= 5).mean()), float(np.median(rank)), choices, len(one))
