"""Fashion-MNIST: 70,000 grey pictures of 28x28 of ten kinds of clothes (Xiao, Rasul & Vollgraf 2017)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.fetch import Known, Route, download, obtain, run_client
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["FASHION_MNIST", "fashion_mnist", "read_files"]

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # has no https; the content is verified
_PACKAGE = "dataset-fashion-mnist"
_INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts it
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_MOST_BYTES = 60_000_000  # of a file, unpacked; the largest has 47 million

FASHION_MNIST = Known(
    name="fashion-mnist",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    shape=(28, 28, 1),
    counts={"train": 60_000, "test": 10_000},
    sha256={
        "train": "16d82e2b505296aa2b78bd5ea0992634f30419a4c97def7c907d154a35ac6157",
        "test": "9f1ec356a747bfe4ebab3cfb722d3694c9ca737e2570f6f90cf31d7b6fd689d4",
    },
    source="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
)


def fashion_mnist(split: str = "train", files: Path | None = None, cache: Path | None = None) -> Dataset:
    """Fashion-MNIST, fetched once (31 MB) and kept in the cache; grey, labels of the kind "class".

    Args:
        split: "train" (60,000) or "test" (10,000).
        files: a folder with the four idx files, compressed (.gz) or not.
        cache: where packs are kept; see `sfumato.files.cache_folder`.

    Raises:
        InputError: no such split, other files than Fashion-MNIST's, or no way to fetch them (all ways are listed).
    """
    routes = (
        Route("the installed Debian package", _from_system),
        Route(f"apt-get download {_PACKAGE}", _from_apt),
        Route("the official place", _from_home),
    )
    return obtain(FASHION_MNIST, split, read_files, routes, files, cache)


def _from_system(_work: Path) -> Path:
    if not _INSTALLED.is_dir():
        raise InputError(f"{_PACKAGE} is not installed")
    return _INSTALLED


def _from_apt(work: Path) -> Path:
    run_client(["apt-get", "download", _PACKAGE], work)
    archives = list(work.glob("*.deb"))
    if not archives:
        raise InputError("apt-get left no package")
    run_client(["dpkg-deb", "-x", str(archives[0]), "unpacked"], work)
    return work / "unpacked" / _INSTALLED.relative_to("/")


def _from_home(work: Path) -> Path:
    for names in _FILES.values():
        for name in names:
            download(f"{_URL}{name}.gz", work, most_bytes=_MOST_BYTES)
    return work


def read_files(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the idx files of a split: images (N, 28, 28, 1) uint8, labels (N,) uint8.

    Raises:
        InputError: a file is missing or has not the form it should have.
    """
    images, labels = (_idx(folder, name) for name in _FILES[split])
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise InputError(f"{shown(folder)}: images {images.shape} and labels {labels.shape} do not fit together")
    return images[:, :, :, None], labels


def _idx(folder: Path, name: str) -> np.ndarray:
    """An idx file: two zero bytes, 8 for uint8, the number of dimensions, each as big-endian uint32, the values."""
    packed, plain = folder / f"{name}.gz", folder / name
    file = packed if packed.is_file() else plain
    try:
        with gzip.open(file) if file is packed else open(file, "rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{shown(folder)} holds neither {name}.gz nor {name}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{shown(file)}: cannot be read, {error}") from error
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4"))
    if dimensions == 0 or len(content) - start != math.prod(shape):
        raise InputError(f"{shown(file)}: {len(content)} bytes are no idx file of bytes, or it was cut off")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
