"""WebDataset shards as a source: tar files whose neighbours of one key are a picture and what is known of it.

The headers are scanned once; pictures are then read from their places in the files, in any order.
"""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from sfumato.data.metadata import label_text, numbered
from sfumato.data.source import LARGEST, SUFFIXES, Source
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["shards_source"]

log = logging.getLogger(__name__)

_TEXTS = frozenset({".cls", ".txt", ".json"})
_LARGEST_TEXT = 2**20  # bytes


@dataclass
class _Sample:
    name: str
    shard: int
    place: int = -1
    size: int = -1
    caption: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def shards_source(paths: Sequence[Path]) -> Source:
    """The pictures in tar files, in the order of the files and of their places in them.

    The key of a sample is its path up to the first dot of the last name; what follows says what a member is:
    a picture (`jpg`, `png`, `webp`, …), `cls` (a label, of the kind "class"), `txt` (a caption) or `json` (an object
    with "caption" or "text", and "label" or "class"; further keys are ignored). Other members, samples without a
    picture, links and devices are no pictures.

    Raises:
        InputError: no tar file, a compressed or cut-off one, no pictures, a sample with two pictures, two captions or
            two labels, or one whose label or caption cannot be read.
    """
    samples: list[_Sample] = []
    ignored: set[str] = set()
    others: list[str] = []
    for number, path in enumerate(paths):
        samples += _scan(path, number, ignored, others)
    where = shown(paths[0]) if len(paths) == 1 else f"{shown(paths[0])} … {shown(paths[-1])}"
    if not samples:
        raise InputError(f"{where}: no pictures ({', '.join(sorted(SUFFIXES))}) in these tar files")
    labels, kinds = numbered([sample.labels for sample in samples])
    places = np.array([(sample.shard, sample.place, sample.size) for sample in samples], np.int64)

    def content(i: int) -> bytes:
        shard, place, size = places[i].tolist()
        return _part(paths[shard], place, size)

    return Source(
        name=paths[0].stem if len(paths) == 1 else paths[0].resolve().parent.name,
        where=where,
        origin=f"the tar file {shown(paths[0].name)}" if len(paths) == 1 else f"{len(paths)} tar files, {where}",
        names=[sample.name for sample in samples],
        content=content,
        sizes=places[:, 2],
        labels=labels,
        kinds=kinds,
        captions=tuple(s.caption for s in samples) if any(s.caption for s in samples) else (),
        ignored=tuple(sorted(ignored)),
        others=tuple(others),
    )


def _scan(path: Path, number: int, ignored: set[str], others: list[str]) -> list[_Sample]:
    """The samples of one tar file that have a picture."""
    samples: dict[str, _Sample] = {}
    filled: set[tuple[str, str]] = set()
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]; or it keeps every header
                name = shown(f"{path.name}/{member.name}")
                key, ending = _key(member.name)
                if member.offset_data + member.size > size:
                    raise InputError(f"{shown(path)} was cut off within {shown(member.name)}")
                if not member.isreg() or member.sparse is not None or not (ending in SUFFIXES or ending in _TEXTS):
                    if not member.isdir():
                        others.append(name)
                    continue
                sample = samples.setdefault(key, _Sample(name, number))
                try:
                    if ending in SUFFIXES:
                        _once(filled, key, "picture")
                        sample.name, sample.place, sample.size = name, member.offset_data, member.size
                    else:
                        if member.size > _LARGEST_TEXT:
                            raise InputError(f"a text of {member.size:,} bytes is more than {_LARGEST_TEXT:,}")
                        text = _part(path, member.offset_data, member.size).decode("utf-8-sig")
                        _describe(sample, key, ending, text, filled, ignored)
                except (InputError, ValueError, RecursionError) as error:
                    raise InputError(f"{name}: {error}") from error
            whole = tar.offset < size
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{shown(path)}: no tar file, or a compressed one (unpack it first): {error}") from error
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read, {error.strerror or error}") from error
    if not whole:
        log.warning("%s has no end mark: it may have been cut off between two files", shown(path))
    others += [sample.name for sample in samples.values() if sample.place < 0]
    return [sample for sample in samples.values() if sample.place >= 0]


def _describe(
    sample: _Sample, key: str, ending: str, text: str, filled: set[tuple[str, str]], ignored: set[str]
) -> None:
    row: dict[str, object] = {"caption": text.strip()} if ending == ".txt" else {"label": text.strip()}
    if ending == ".json":
        row = json.loads(text)
        if not isinstance(row, dict):
            raise InputError("expected an object, such as {}")
    for name, value in row.items():
        if value is None or value == "":
            continue
        if name in ("caption", "text"):
            _once(filled, key, "caption")
            if not isinstance(value, str):
                raise InputError(f"the caption must be a text, not {value!r}")
            sample.caption = value
        elif name in ("label", "class"):
            _once(filled, key, "label")
            sample.labels["class"] = label_text(value)
        else:
            ignored.add(name)


def _once(filled: set[tuple[str, str]], key: str, what: str) -> None:
    if (key, what) in filled:
        raise InputError(f"the sample {shown(key)} has two of one kind: {what}")
    filled.add((key, what))


def _key(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    stem, dot, ending = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, (dot + ending).lower()


def _part(path: Path, place: int, size: int) -> bytes:
    """`size` bytes of a file. It is opened anew, so that threads share nothing and thousands of shards stay closed."""
    if size > LARGEST:
        raise InputError(f"it has {size:,} bytes, more than the limit of {LARGEST:,}")
    try:
        with open(path, "rb") as file:
            file.seek(place)
            content = file.read(size)
    except OSError as error:
        raise InputError(f"cannot be read, {error.strerror}") from error
    if len(content) != size:
        raise InputError("it was cut off")
    return content
