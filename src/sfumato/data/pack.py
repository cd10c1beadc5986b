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
from safetensors.numpy import save_file

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.files import atomic_path

__all__ = ["FORMAT", "read_pack", "verify_pack", "write_pack"]

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
    about = {
        "format": FORMAT,
        "name": dataset.name,
        "kinds": {kind: list(names) for kind, names in dataset.kinds.items()},
        "captions": list(dataset.captions),
        "tags": [list(tags) for tags in dataset.tags],
        "source": dataset.source,
        "licence": dataset.licence,
        "fingerprint": dataset.fingerprint,
        "images_sha256": _sha256(dataset.images),
    }
    text = json.dumps(about)
    if len(json.dumps(text)) > _MOST_HEADER - 10_000:
        raise InputError(f"{dataset.name}: the captions and tags are too long for one pack; split the data set")
    tensors = {
        "images": np.ascontiguousarray(dataset.images),
        "labels": np.ascontiguousarray(dataset.labels, dtype=np.int64),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"sfumato": text})


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
