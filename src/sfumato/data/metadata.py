"""What is said of pictures beside them: captions and labels from a metadata file, and labels as numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np

from sfumato.errors import InputError

__all__ = ["METADATA", "Metadata", "label_text", "numbered", "read_metadata"]

METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass
class Metadata:
    """The content of a metadata file: by relative path the caption and the labels (kind -> class)."""

    captions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)


def read_metadata(where: str, files: Mapping[str, Callable[[], IO[bytes]]]) -> Metadata | None:
    """The content of `metadata.jsonl` or `metadata.csv`; None where there is neither.

    Args:
        where: the folder or archive, as it may be printed.
        files: what opens those of `METADATA` that are there.

    Raises:
        InputError: both are there, or a line is wrong; the message names file, line and what is expected.
    """
    if not files:
        return None
    if len(files) > 1:
        raise InputError(f"{where} holds both {' and '.join(METADATA)}: keep one of them")
    ((name, opener),) = files.items()
    title, metadata = f"{where}/{name}", Metadata()
    with _text_of(title, opener) as lines:
        for line, row in _jsonl_rows(title, lines) if name.endswith(".jsonl") else _csv_rows(title, lines):
            try:
                _add_row(metadata, row)
            except InputError as error:
                raise InputError(f"{title}, line {line}: {error}") from error
    return metadata


def label_text(label: object) -> str:
    """A label as it stands in JSON, as the name of a class. `InputError` unless it is a text or a whole number."""
    if not isinstance(label, str | int) or isinstance(label, bool):
        raise InputError(f"the label must be a text or a whole number, not {label!r}")
    return str(label)


def numbered(rows: Sequence[Mapping[str, str]]) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
    """Labels by number, (N, K) int64 with -1 for none, and the sorted names of the classes of each kind.

    Names that are all whole numbers are sorted as such: 2 comes before 10.
    """
    classes: dict[str, set[str]] = {}
    for row in rows:
        for kind, name in row.items():
            classes.setdefault(kind, set()).add(name)
    kinds = {kind: tuple(_sorted(classes[kind])) for kind in sorted(classes)}
    labels = np.full((len(rows), len(kinds)), -1, np.int64)
    for column, (kind, names) in enumerate(kinds.items()):
        numbers = {name: i for i, name in enumerate(names)}
        labels[:, column] = [numbers[row[kind]] if kind in row else -1 for row in rows]
    return labels, kinds


def _sorted(names: Iterable[str]) -> list[str]:
    names = sorted(names)
    return sorted(names, key=int) if all(name.isascii() and name.isdigit() for name in names) else names


def _add_row(metadata: Metadata, row: dict[str, Any]) -> None:
    row = {key: value for key, value in row.items() if value is not None and value != ""}
    name = row.pop("file_name", None)
    if not isinstance(name, str):
        raise InputError('needs "file_name", the path of a picture relative to the folder')
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise InputError(f"file_name {name!r} must be a path inside the folder, with forward slashes")
    name = str(path)
    if name in metadata.labels:
        raise InputError(f"file_name {name!r} is listed twice")
    if "text" in row and "caption" in row:
        raise InputError('has both "text" and "caption": keep one of them')
    if "label" in row and "class" in row:
        raise InputError('has both "label" and "class", which mean the same: keep one of them')
    caption = row.pop("text", row.pop("caption", None))
    if caption is not None:
        if not isinstance(caption, str):
            raise InputError(f"the caption must be a text, not {caption!r}")
        metadata.captions[name] = caption
    label = row.pop("label", None)
    if label is not None:
        row["class"] = label_text(label)
    metadata.labels[name] = {kind: value for kind, value in row.items() if isinstance(value, str)}
    metadata.ignored |= {kind for kind, value in row.items() if not isinstance(value, str)}


def _jsonl_rows(title: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{title}, line {number}: is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f'{title}, line {number}: expected an object such as {{"file_name": "a.png"}}')
        yield number, row


def _csv_rows(title: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise InputError(f"{title}, line {reader.line_num}: not as many columns as the first line")
            yield reader.line_num, dict(row)
    except csv.Error as error:
        raise InputError(f"{title}, line {reader.reader.line_num}: {error}") from error


@contextmanager
def _text_of(title: str, opener: Callable[[], IO[bytes]]) -> Iterator[Iterable[str]]:
    try:
        with opener() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as lines:
            yield lines
    except UnicodeDecodeError as error:
        raise InputError(f"{title}: must be UTF-8 text, but it holds: {error.reason}") from error
