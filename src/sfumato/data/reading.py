"""The pictures of a source, decoded: one after another, or as a data set in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.framing import Framing
from sfumato.data.source import Quota, Report, Source
from sfumato.data.workers import in_order
from sfumato.errors import InputError
from sfumato.images import hasten, pixels
from sfumato.sizes import written

__all__ = ["MAX_BAD", "channels_of", "decoded", "pictures", "read_source"]

MAX_BAD = 0.1


def decoded(
    source: Source, i: int, framing: Framing, mode: str, number: int, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Picture `i` of a source, framed as number `number`: uint8 (height, width, C). `InputError`: the bare reason."""
    with source.opened(i) as image:
        hasten(image, size or framing.size)
        full = pixels(image, background=framing.background, mode=mode)
    return framing(full, number, size)


def pictures(
    source: Source, framing: Framing, quota: Quota, *, workers: int = 0, mode: str = "RGB"
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode every picture of a source, in its order; those that cannot be read go to `quota`.

    Yields:
        The number of the picture and its pixels, (height, width, C).
    """

    def load(i: int) -> np.ndarray | str:
        try:
            return decoded(source, i, framing, mode, i)
        except InputError as error:
            return str(error)

    for i, result in enumerate(in_order(load, range(len(source)), workers)):
        if isinstance(result, str):
            quota.add(i, result)
        else:
            yield i, result


def read_source(
    source: Source, framing: Framing, *, workers: int = 0, max_bad: float = MAX_BAD, mode: str = "RGB"
) -> tuple[Dataset, Report]:
    """Read all pictures of a source into memory.

    Args:
        framing: how they become equally large; "random" takes their numbers in the source.
        workers: decoding threads, 0 for none (Pillow decodes outside the interpreter lock). The result is the same.
        max_bad: greatest tolerable share of pictures that cannot be read, but always one; they are left out and
            reported.
        mode: "RGB" or "L" (grey).

    Returns:
        The data set, images (N, height, width, 3 or 1), and the report of what was left out.

    Raises:
        InputError: too many unreadable pictures, or more than half of this machine's memory would be needed.
    """
    quota, shape = Quota(source, max_bad), (len(source), *framing.size, channels_of(mode))
    need, memory = int(np.prod(shape, dtype=object)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > memory // 2:
        size = written(framing.size)
        raise InputError(
            f"{source.where}: {len(source):,} pictures of {size} take {need / 1e9:.1f} GB, more than half of the "
            f"memory here. Pack them into a file, which is mapped: sfumato data pack {source.where} --size {size} "
            "--out pictures.safetensors"
        )
    images, good = np.empty(shape, np.uint8), []
    for i, picture in pictures(source, framing, quota, workers=workers, mode=mode):
        images[len(good)] = picture
        good.append(i)
    return source.dataset(images[: len(good)], good), quota.report()


def channels_of(mode: str) -> int:
    """Channels of a decoded picture. `InputError` unless the mode is "RGB" or "L"."""
    if mode not in ("RGB", "L"):
        raise InputError(f"the mode of a picture is 'RGB' or 'L', not {mode!r}")
    return 3 if mode == "RGB" else 1
