"""What is asked of a network of the user's: a name that is not another's, and features of each picture on its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sfumato.errors import InputError
from sfumato.evaluation.feature_sets import feature_set
from sfumato.evaluation.names import CLIP, INCEPTION

__all__ = ["check_name", "width_of"]

TOLERANCE = 1e-3  # of the largest feature, for sums in another order


def check_name(name: str) -> None:
    """Raise `InputError` for a name that cannot be read, or that turns distances into FID or CMMD."""
    if name in (INCEPTION, CLIP):
        raise InputError(
            f"the name {name!r} is kept for the network behind FID or CMMD, which open_extractor opens: choose another"
        )
    if not name.strip() or not name.isprintable():
        raise InputError(f"an extractor's name must be a few letters, not {name!r}")


def width_of(features: Callable[[np.ndarray], np.ndarray], size: tuple[int, int], name: str) -> int:
    """The number of features a picture, found by trying two pictures, together and alone.

    Raises:
        InputError: when there is not a row of finite numbers for each picture, or it depends on other pictures or on
            chance, as in a network that normalises over the batch.
    """
    pictures = np.arange(2 * size[0] * size[1] * 3).reshape(2, *size, 3) * 37 % 251
    pictures = pictures.astype(np.uint8)
    together = feature_set(features(pictures), name=f"{name}'s features of two pictures")
    alone = feature_set(features(pictures[1:]), name=f"{name}'s features of a picture")
    if alone.shape[1] != together.shape[1]:
        raise InputError(f"{name} makes {alone.shape[1]} features of one picture, {together.shape[1]} of each of two")
    if np.abs(together[1] - alone[0]).max() > TOLERANCE * np.abs(together).max():
        raise InputError(f"{name} makes other features of a picture beside another than alone, or makes them by chance")
    return together.shape[1]
