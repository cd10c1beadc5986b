"""One word opens any data set: a name, a pack file, or pictures in a folder, an archive or a table."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sfumato.data.cifar10 import cifar10
from sfumato.data.dataset import Dataset
from sfumato.data.emoji import emoji
from sfumato.data.emoji_large import DEFAULT_SIZE, emoji_large
from sfumato.data.fashion_mnist import fashion_mnist
from sfumato.data.fluent_3d import fluent_3d
from sfumato.data.framing import Framing
from sfumato.data.locate import source_at
from sfumato.data.mnist import mnist
from sfumato.data.pack import read_pack
from sfumato.data.reading import read_source
from sfumato.data.source import Source
from sfumato.errors import InputError, nearest
from sfumato.images import fit, shown

__all__ = ["EMOJI", "FETCHED", "FOLDER_SIZE", "open_data", "open_source", "source_names"]

log = logging.getLogger(__name__)

FOLDER_SIZE = 32
EMOJI: dict[str, Callable[..., Dataset]] = {"emoji": emoji, "fluent-3d": fluent_3d, "emoji-large": emoji_large}
FETCHED: dict[str, Callable[..., Dataset]] = {
    "cifar10": cifar10,
    "fashion-mnist": fashion_mnist,
    "mnist": mnist,
}


def source_names() -> list[str]:
    """What `open_data` knows by name. The emoji sets also take groups, styles and a split: "emoji/food:train"."""
    fetched = [f"{name}{split}" for name in FETCHED for split in ("", "/test")]
    return ["emoji", *fetched, *(name for name in EMOJI if name != "emoji")]


def open_data(
    spec: str | Path, *, size: int | tuple[int, int] | None = None, workers: int = 0, mode: str | None = None
) -> Dataset:
    """Open a data set.

    Args:
        spec: "emoji", "fluent-3d", "emoji-large", each also with groups and styles ("emoji/food,noto") and a split
            ("emoji:train", "emoji/food:held-out"); "cifar10", "fashion-mnist", "mnist", each also with "/test"; a
            pack (NAME.safetensors); or what `source_at` knows: a folder of pictures, NAME.zip, WebDataset shards
            (NAME-{0000..0009}.tar), Parquet or Arrow files. Where a folder has the name of a data set, write "./emoji"
            or "emoji/" for the folder.
        size: side of the pictures in pixels, or (height, width); by default as stored, 32 for pictures in files, and 64
            for "emoji-large", which is drawn at any size up to 256.
        workers: threads that decode pictures in files.
        mode: "RGB" or "L" (grey); by default as stored, and "RGB" for pictures in files.

    Raises:
        InputError: nothing is known by that name, or it cannot be read; see the function for each kind.
    """
    shape = (size, size) if isinstance(size, int) else size
    if (shape is not None and min(shape) < 1) or mode not in (None, "RGB", "L"):
        raise InputError(f"{size=}, {mode=}: a size of at least 1 and the mode 'RGB' or 'L' are needed")
    head, rest = _parts(spec)
    path = Path(os.path.expanduser(spec))
    if head == "emoji-large":
        dataset = EMOJI[head](rest or None, size=max(shape) if shape else DEFAULT_SIZE)
    elif head in EMOJI:
        dataset = EMOJI[head](rest or None)
    elif head in FETCHED:
        dataset = FETCHED[head](rest or "train")
    elif (source := source_at(spec)) is not None:
        dataset, report = read_source(source, Framing.of(shape or FOLDER_SIZE), workers=workers, mode=mode or "RGB")
        if report.bad or report.unlisted:
            log.warning("%s: %s", source.where, report.text())
    elif path.is_file():
        dataset = read_pack(path)
    elif not head or path.suffix or rest:
        raise InputError(f"{shown(path)}: no such file or folder")
    else:
        raise InputError(f"{spec!r} is neither a data set's name nor a file or folder. {nearest(head, source_names())}")
    return _as_asked(dataset, shape, mode)


def open_source(spec: str | Path) -> Source | None:
    """The pictures in files that `spec` means, not decoded yet; None where it names a data set or a pack.

    Raises:
        InputError: as `source_at`.
    """
    head, _ = _parts(spec)
    return None if head in EMOJI or head in FETCHED else source_at(spec)


def _parts(spec: str | Path) -> tuple[str, str]:
    """What may be the name of a data set, "" where `spec` is written as a path; and what follows it."""
    text = str(spec)
    if isinstance(spec, Path) or text.startswith((".", "/", "~")) or text.endswith("/"):
        return "", text
    head = re.split("[/:]", text, maxsplit=1)[0]
    return head, text[len(head) :].removeprefix("/")


def _as_asked(dataset: Dataset, size: tuple[int, int] | None, mode: str | None) -> Dataset:
    images = dataset.images
    if size is not None and images.shape[1:3] != size:
        images = np.stack([fit(image, size) for image in images])
    if mode == "RGB" and images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)
    elif mode == "L" and images.shape[3] == 3:
        images = np.stack([_grey(image) for image in images])
    return dataset if images is dataset.images else replace(dataset, images=images)


def _grey(image: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma, (H, W, 3) -> (H, W, 1), in the fixed-point numbers that `images.decode` gets from Pillow."""
    luma = (image @ np.array([19595, 38470, 7471], np.uint32) + 0x8000) >> 16
    return luma.astype(np.uint8)[:, :, None]
