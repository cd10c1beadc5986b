"""A data set in one file that opens at once: safetensors (no pickle), whose pictures are mapped from disk.

The file holds the tensors `images` (uint8) and `labels` (int64). Everything else is JSON in the header's metadata,
under the key "sfumato".
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.framing import Framing
from sfumato.data.reading import MAX_BAD, channels_of, pictures
from sfumato.data.source import Quota, Report, Source
from sfumato.errors import InputError
from sfumato.files import atomic_path, check_writable

__all__ = ["FORMAT", "pack_source", "read_pack", "verify_pack", "write_pack"]

FORMAT = 1  # raise it when older readers would misread the file
_MOST_HEADER = 100_000_000  # bytes; the limit of the safetensors format
_DTYPES = {"U8": np.dtype(np.uint8), "I64": np.dtype("<i8")}


def write_pack(dataset: Dataset, path: Path | str) -> None:
    """Write a data set as one file, whole or not at all.

    Raises:
        InputError: there are no pictures, or more text than a header can hold (100 MB).
    """
    if len(dataset) == 0:
        raise InputError(f"{dataset.name}: there are no pictures to pack")
    header = _header(dataset, dataset.fingerprint, _sha256(dataset.images))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(header)
        file.write(np.ascontiguousarray(dataset.labels, dtype="<i8").data)
        for start in range(0, len(dataset), 4096):
            file.write(np.ascontiguousarray(dataset.images[start : start + 4096]).data)


def pack_source(
    source: Source,
    path: Path | str,
    framing: Framing,
    *,
    workers: int = 0,
    max_bad: float = MAX_BAD,
    mode: str = "RGB",
) -> Report:
    """Decode a source into a pack, one picture after the other: memory does not limit how many.

    The same file as `write_pack` of `read_source`, except that its header may end in spaces.

    Args:
        framing, workers, max_bad, mode: as in `read_source`.

    Raises:
        InputError: too many unreadable pictures, too little room on the disk, or too much text for a header.
    """
    path, quota = Path(path), Quota(source, max_bad)
    one = (*framing.size, channels_of(mode))
    everything = source.dataset(np.broadcast_to(np.uint8(0), (len(source), *one)), range(len(source)))
    # how many are left out turns out at the end: then header and labels are written into this room
    room = len(_header(everything, "0" * 64, "0" * 64)) + 8 * everything.labels.size
    check_writable(path.parent, need_bytes=room + everything.images.size)
    good: list[int] = []
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            file.seek(room)
            for i, picture in pictures(source, framing, quota, workers=workers, mode=mode):
                file.write(np.ascontiguousarray(picture).data)
                good.append(i)
        images = np.memmap(temporary, np.uint8, mode="r", offset=room, shape=(len(good), *one))
        dataset = source.dataset(images, good)
        with open(temporary, "r+b") as file:
            file.write(_header(dataset, dataset.fingerprint, _sha256(images), room - 8 * dataset.labels.size))
            file.write(np.ascontiguousarray(dataset.labels, dtype="<i8").data)
    return quota.report()


def _header(dataset: Dataset, fingerprint: str, images_sha256: str, room: int = 0) -> bytes:
    """The length and the header of a safetensors file, filled up with spaces to a multiple of 8, or to `room` bytes."""
    about = {
        "format": FORMAT,
        "name": dataset.name,
        "kinds": {kind: list(names) for kind, names in dataset.kinds.items()},
        "captions": list(dataset.captions),
        "tags": [list(tags) for tags in dataset.tags],
        "source": dataset.source,
        "licence": dataset.licence,
        "fingerprint": fingerprint,
        "images_sha256": images_sha256,
    }
    images, labels = dataset.images.size, 8 * dataset.labels.size
    header = {
        "__metadata__": {"sfumato": json.dumps(about)},
        "labels": {"dtype": "I64", "shape": dataset.labels.shape, "data_offsets": [0, labels]},
        "images": {"dtype": "U8", "shape": dataset.images.shape, "data_offsets": [labels, labels + images]},
    }
    text = json.dumps(header).encode()
    if len(text) > _MOST_HEADER - 10_000:
        raise InputError(f"{dataset.name}: the captions and tags are too long for one pack; split the data set")
    length = max(room - 8, -(-len(text) // 8) * 8)
    return length.to_bytes(8, "little") + text.ljust(length)


def read_pack(path: Path | str) -> Dataset:
    """Open a pack. The pictures are a read-only memory map: nothing is read before it is used.

    Raises:
        InputError: no pack, one of a newer format version, a truncated or a contradictory one.
    """
    return _open(Path(path)).dataset


def verify_pack(path: Path | str) -> Dataset:
    """Open a pack and compare pictures, labels and class names with the hashes that were written beside them.

    Raises:
        InputError: as `read_pack`, and when a hash differs.
    """
    pack = _open(Path(path))
    for title, found, noted in (
        ("pictures", _sha256(pack.dataset.images), pack.images_sha256),
        ("labels or class names", pack.dataset.fingerprint, pack.fingerprint),
    ):
        if found != noted:
            raise InputError(f"{path}: the {title} are not what was written (sha256 {found}, noted {noted})")
    return pack.dataset


@dataclass(frozen=True)
class _Pack:
    dataset: Dataset
    fingerprint: str
    images_sha256: str


def _open(path: Path) -> _Pack:
    try:
        header, start = _read_header(path)
        about = _about(header)
        images = _map(path, header, "images", start)
        labels = np.array(_map(path, header, "labels", start))
        dataset = Dataset(
            name=_text(about, "name"),
            images=images,
            labels=labels,
            kinds={kind: _texts(names) for kind, names in _expect(about.get("kinds"), dict).items()},
            captions=_texts(about.get("captions")),
            tags=tuple(_texts(tags) for tags in _expect(about.get("tags", []), list)),
            source=_text(about, "source"),
            licence=_text(about, "licence"),
        )
        return _Pack(dataset, _text(about, "fingerprint"), _text(about, "images_sha256"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read, {error.strerror}") from error


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and the offset where its tensors begin; every length is checked first."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_HEADER):
            raise InputError("not a pack of Sfumato, or cut off")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise InputError("not a pack of Sfumato") from error
    return _expect(header, dict), 8 + length


def _about(header: dict[str, Any]) -> dict[str, Any]:
    text = _expect(header.get("__metadata__", {}), dict).get("sfumato")
    if not isinstance(text, str):
        raise InputError("a safetensors file, but not a pack of Sfumato")
    try:
        about = _expect(json.loads(text), dict)
    except (ValueError, RecursionError) as error:
        raise InputError("its description is broken") from error
    version = about.get("format")
    if not isinstance(version, int) or version < 1:
        raise InputError(f"its format version is {version!r}")
    if version > FORMAT:
        raise InputError(f"written in format {version} by a newer Sfumato; this one reads up to {FORMAT}: update it")
    return about


def _map(path: Path, header: dict[str, Any], name: str, start: int) -> np.ndarray:
    """Map one tensor, after its type, shape and place in the file have been found to agree."""
    entry = _expect(header.get(name), dict)
    dtype, shape, place = _DTYPES.get(str(entry.get("dtype"))), entry.get("shape"), entry.get("data_offsets")
    if dtype is None or not _naturals(shape) or not _naturals(place) or len(place) != 2:
        raise InputError(f"its tensor {name!r} is not described as in a pack")
    if place[1] - place[0] != math.prod(shape) * dtype.itemsize:
        raise InputError(f"its tensor {name!r} has {place[1] - place[0]} bytes, which is not shape {shape}")
    if start + place[1] > path.stat().st_size:
        raise InputError("it was cut off")
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)  # data sets without labels; nothing of no size can be mapped
    return np.memmap(path, dtype, mode="r", offset=start + place[0], shape=tuple(shape))


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InputError("not a pack of Sfumato")
    return value


def _text(about: dict[str, Any], key: str) -> str:
    return _expect(about.get(key), str)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_expect(text, str) for text in _expect(value, list))


def _sha256(images: np.ndarray) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(images), 4096):
        digest.update(np.ascontiguousarray(images[start : start + 4096]).data)
    return digest.hexdigest()
