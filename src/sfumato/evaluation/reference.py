"""Features of reference pictures, kept in the cache: what many evaluations share is computed once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.feature_sets import feature_set
from sfumato.files import atomic_path, cache_folder

__all__ = ["reference_features"]

log = logging.getLogger("sfumato")

FORMAT = 1  # raise it when what is computed, or how it is written, changes
CHUNK = 256  # pictures between two calls of progress


def reference_features(
    extractor: Extractor, data: Dataset, rows: np.ndarray, progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Features (n, D) float32 of n pictures of a data set, from the cache (`files.cache_folder`) where they are there.

    What is there goes by the pictures' own bytes and `Extractor.key`, and is checked when it is read: a damaged file is
    made anew. A cache that cannot be written to stops nothing. Either is logged.

    Args:
        extractor: which features.
        data: the pictures.
        rows: (n,) their numbers in it; features come in this order.
        progress: called with the number of pictures that are done; at once with n when they come from the cache.

    Raises:
        InputError: for rows that the data has not, or features that are not n rows of finite numbers.
    """
    rows = _checked(rows, data)
    asked = _asked(extractor, data, rows)
    path = cache_folder() / "features" / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.safetensors"
    found = _read(path, asked, (len(rows), extractor.width))
    if found is not None:
        if progress:
            progress(len(rows))
        return found
    features = _compute(extractor, data, rows, progress)
    _write(path, asked, features)
    return features


def _checked(rows: np.ndarray, data: Dataset) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise InputError(f"rows must be numbers of pictures, (n,) integers, not {rows.dtype} {rows.shape}")
    if rows.min() < 0 or rows.max() >= len(data):
        raise InputError(f"rows must be from 0 to {len(data) - 1}, as {data.name} has {len(data)} pictures")
    return rows


def _asked(extractor: Extractor, data: Dataset, rows: np.ndarray) -> str:
    """All that features depend on: the same text, the same features."""
    pixels = hashlib.sha256()
    for first in range(0, len(rows), CHUNK):
        pixels.update(np.ascontiguousarray(data.images[rows[first : first + CHUNK]]).data)
    shape = [len(rows), *data.images.shape[1:]]
    return json.dumps({"format": FORMAT, "extractor": extractor.key, "shape": shape, "pixels": pixels.hexdigest()})


def _compute(
    extractor: Extractor, data: Dataset, rows: np.ndarray, progress: Callable[[int], None] | None
) -> np.ndarray:
    features = np.empty((len(rows), extractor.width), np.float32)
    for first in range(0, len(rows), CHUNK):
        chosen = rows[first : first + CHUNK]
        made = extractor.features(data.images[chosen])
        if made.shape != (len(chosen), extractor.width):
            raise InputError(f"{extractor.name} makes features {made.shape}, not {(len(chosen), extractor.width)}")
        features[first : first + len(chosen)] = made
        if progress:
            progress(first + len(chosen))
    return feature_set(features, name=f"{extractor.name}'s features of {data.name}")


def _read(path: Path, asked: str, shape: tuple[int, int]) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about, features = file.metadata() or {}, file.get_tensor("features")
    except (SafetensorError, OSError, ValueError) as error:
        log.warning("%s is damaged (%s): its features are computed anew", path, error)
        return None
    if (
        about.get("asked") != asked
        or features.dtype != np.float32
        or features.shape != shape
        or about.get("sha256") != _sha256(features)
    ):
        log.warning("%s is not what was written: its features are computed anew", path)
        return None
    return features


def _write(path: Path, asked: str, features: np.ndarray) -> None:
    try:
        with atomic_path(path) as temporary:
            save_file({"features": features}, temporary, metadata={"asked": asked, "sha256": _sha256(features)})
    except (OSError, SafetensorError, InputError) as error:
        log.warning("features are not kept for the next time: %s", error)


def _sha256(features: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
