"""What every measure on features asks of them: rows of finite numbers, as wide on both sides."""

from __future__ import annotations

import numpy as np

from sfumato.errors import InputError

__all__ = ["feature_pair", "feature_set", "unit_rows"]


def feature_set(features: np.ndarray, least: int = 1, name: str = "features") -> np.ndarray:
    """Features as an array (n, D), in the type that they came in.

    Args:
        features: (n, D), a row a picture.
        least: as many rows as the measure needs.
        name: what the features are of, for the message.

    Raises:
        InputError: for anything but a table of finite real numbers with enough rows.
    """
    features = np.asarray(features)
    if features.dtype.kind not in "fiub":
        raise InputError(f"{name} must be real numbers, not {features.dtype}: convert them to float")
    if features.ndim != 2 or not features.shape[1]:
        raise InputError(f"{name} must be (n, D), a row a picture, not {features.shape}: flatten each picture to a row")
    if len(features) < least:
        raise InputError(f"{name} must be of {least} pictures at least, not {len(features)}: take more pictures")
    # max and min pass NaN on, and need no copy of the table
    if features.dtype.kind == "f" and not np.isfinite([features.max(), features.min()]).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(1))[0])
        raise InputError(f"{name} hold NaN or infinity, first in row {row}: drop or mend what they were made from")
    return features


def feature_pair(
    one: np.ndarray, other: np.ndarray, least: int = 1, names: tuple[str, str] = ("the first features", "the second")
) -> tuple[np.ndarray, np.ndarray]:
    """Two `feature_set`s (n, D) and (m, D) that can be compared. `InputError` when their widths differ."""
    one, other = feature_set(one, least, names[0]), feature_set(other, least, names[1])
    if one.shape[1] != other.shape[1]:
        raise InputError(
            f"{names[0]} are {one.shape[1]} wide, {names[1]} {other.shape[1]}: take both from the same extractor"
        )
    return one, other


def unit_rows(features: np.ndarray, name: str = "features") -> np.ndarray:
    """Rows divided by their Euclidean norm: (n, D) float64. `InputError` for a row of zeros, which has no direction."""
    features = np.asarray(features, np.float64)
    # by the largest number first: squares of what is very large or small would be infinite or nought
    largest = np.abs(features).max(1, keepdims=True)
    if not largest.all():
        row = int(np.flatnonzero(largest == 0)[0])
        raise InputError(f"{name} hold only zeros in row {row}: that has no cosine; drop that picture")
    features = features / largest
    return features / np.linalg.norm(features, axis=1, keepdims=True)
