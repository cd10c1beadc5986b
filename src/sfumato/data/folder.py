"""A folder of pictures becomes a data set: labels from its sub-folders, or captions and labels from a metadata file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.images import decode, fit, shown

__all__ = ["SUFFIXES", "Report", "in_order", "list_files", "read_folder", "read_metadata", "some_of"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
METADATA = ("metadata.jsonl", "metadata.csv")

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Report:
    """What reading a folder met.

    Attributes:
        used: number of pictures in the data set.
        bad: (relative path, reason) of each picture that had to be left out.
        unlisted: pictures in the folder that its metadata file does not mention; they are left out too.
        ignored: further keys of the metadata whose values are no texts.
    """

    used: int
    bad: tuple[tuple[str, str], ...] = ()
    unlisted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def text(self) -> str:
        """The report for people, one fact a line."""
        lines = [f"{self.used} pictures read"]
        if self.bad:
            lines += [
                f"{len(self.bad)} left out because they cannot be read:",
                *some_of(f"{n}: {r}" for n, r in self.bad),
            ]
        if self.unlisted:
            lines += [
                f"{len(self.unlisted)} left out because the metadata does not list them:",
                *some_of(self.unlisted),
            ]
        if self.ignored:
            lines.append(f"metadata keys ignored because their values are no texts: {', '.join(self.ignored)}")
        return "\n".join(lines)


@dataclass
class Metadata:
    """The content of a metadata file: by relative path the caption and the labels (kind -> class)."""

    captions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)


def read_folder(
    path: Path | str,
    size: int,
    *,
    workers: int = 0,
    background: str = "white",
    max_bad: float = 0.1,
    mode: str = "RGB",
) -> tuple[Dataset, Report]:
    """Read all pictures of a folder and its sub-folders, in the order of their relative paths.

    With a `metadata.jsonl` or `metadata.csv` in the folder, the pictures it lists are read, with its captions
    ("text" or "caption") and labels ("label" becomes the kind "class", any further text a kind by its own name).
    Without, the sub-folders are the classes of the kind "class"; pictures beside the sub-folders have no class.
    Hidden files are skipped, and a folder that links lead to more than once is read once.

    Args:
        size: side of the result in pixels; pictures are scaled to cover the square and cropped to its centre.
        workers: decoding threads, 0 for none (Pillow decodes outside the interpreter lock). The result is the same.
        background: what transparent pictures are composited on.
        max_bad: greatest tolerable share of pictures that cannot be read, but always one; they are left out and
            reported.
        mode: "RGB" or "L" (grey).

    Returns:
        The data set, images (N, size, size, 3 or 1), and the report of what was left out.

    Raises:
        InputError: no such folder, no pictures, a bad metadata line, or too many unreadable pictures.
    """
    path = Path(path)
    if size < 1 or workers < 0 or not 0 <= max_bad <= 1:
        raise InputError(f"{size=}, {workers=}, {max_bad=}: at least 1, at least 0 and between 0 and 1 are needed")
    found = [name for name in list_files(path) if PurePosixPath(name).suffix.lower() in SUFFIXES]
    metadata = read_metadata(path)
    names = found if metadata is None else sorted(metadata.labels)
    if not names:
        raise InputError(f"{shown(path)} holds no pictures ({', '.join(sorted(SUFFIXES))})")

    def load(name: str) -> np.ndarray | str:
        try:
            return fit(decode(path / name, background=background, mode=mode), size)
        except InputError as error:
            return str(error).removeprefix(f"{shown(path / name)}: ")

    images = np.empty((len(names), size, size, 3 if mode == "RGB" else 1), np.uint8)
    good, bad = [], []
    for i, result in enumerate(in_order(load, names, workers)):
        if isinstance(result, str):
            bad.append((shown(names[i]), result))
        else:
            images[len(good)] = result
            good.append(names[i])
    if not good or len(bad) > max(1, max_bad * len(names)):
        few = "".join(f"\n  {name}: {reason}" for name, reason in bad[:5])
        raise InputError(
            f"{len(bad)} of {len(names)} pictures in {shown(path)} cannot be read:{few}\n"
            f"See them all with `sfumato data check {shown(path)}`, then mend or remove them."
        )
    if metadata is None:
        classes = {name: {"class": name.split("/")[0]} if "/" in name else {} for name in names}
        captions = ()
    else:
        classes = metadata.labels
        captions = tuple(metadata.captions.get(name, "") for name in good) if metadata.captions else ()
    # names of classes come from all the files, so that one broken file does not renumber the classes
    labels, kinds = _number([classes[name] for name in good], classes.values())
    title = path.resolve().name
    dataset = Dataset(title, images[: len(good)], labels, kinds, captions, source=f"the folder {shown(title)}")
    unlisted = () if metadata is None else tuple(shown(name) for name in found if name not in metadata.labels)
    ignored = () if metadata is None else tuple(sorted(metadata.ignored))
    return dataset, Report(len(good), tuple(bad), unlisted, ignored)


def list_files(folder: Path) -> list[str]:
    """Everything in `folder` and below that is no folder, as sorted relative POSIX paths; hidden names are skipped.

    Links to folders are followed; a folder is visited once, however many links lead to it.
    """
    if not folder.exists():
        raise InputError(f"{shown(folder)}: no such folder")
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: not a folder")
    visited, names, waiting = set(), [], [(folder, "")]
    try:
        while waiting:
            directory, prefix = waiting.pop()
            status = directory.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            # real folders come before links, so that a folder is known by its own name
            entries = sorted(os.scandir(directory), key=lambda entry: (entry.is_symlink(), entry.name))
            entries = [entry for entry in entries if not entry.name.startswith(".")]
            names += [prefix + entry.name for entry in entries if not entry.is_dir()]
            folders = [entry.name for entry in entries if entry.is_dir()]
            waiting += [(directory / name, f"{prefix}{name}/") for name in reversed(folders)]
    except OSError as error:
        raise InputError(
            f"{shown(folder)}: cannot be listed, {error.strerror} ({shown(str(error.filename))})"
        ) from error
    return sorted(names)


def in_order(work: Callable[[In], Out], items: Iterable[In], workers: int) -> Iterator[Out]:
    """`work` on each item, by `workers` threads (0: by the caller's), the results in the order of the items."""
    if workers < 0:
        raise InputError(f"workers cannot be negative; it is {workers}")
    if workers == 0:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, items)


def read_metadata(folder: Path) -> Metadata | None:
    """The content of `metadata.jsonl` or `metadata.csv` in `folder`; None where there is neither.

    Raises:
        InputError: both are there, or a line is wrong; the message names file, line and what is expected.
    """
    files = [folder / name for name in METADATA if (folder / name).is_file()]
    if not files:
        return None
    if len(files) > 1:
        raise InputError(f"{shown(folder)} holds both {' and '.join(METADATA)}: keep one of them")
    metadata = Metadata()
    for line, row in _jsonl_rows(files[0]) if files[0].suffix == ".jsonl" else _csv_rows(files[0]):
        try:
            _add_row(metadata, row)
        except InputError as error:
            raise InputError(f"{shown(files[0])}, line {line}: {error}") from error
    return metadata


def _add_row(metadata: Metadata, row: dict[str, object]) -> None:
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
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise InputError(f"the label must be a text or a whole number, not {label!r}")
        row["class"] = str(label)
    metadata.labels[name] = {kind: value for kind, value in row.items() if isinstance(value, str)}
    metadata.ignored |= {kind for kind, value in row.items() if not isinstance(value, str)}


def _jsonl_rows(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with _text_of(file) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{shown(file)}, line {number}: is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f'{shown(file)}, line {number}: expected an object such as {{"file_name": "a.png"}}')
            yield number, row


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with _text_of(file) as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(f"{shown(file)}, line {reader.line_num}: not as many columns as the first line")
                yield reader.line_num, dict(row)
        except csv.Error as error:
            raise InputError(f"{shown(file)}, line {reader.reader.line_num}: {error}") from error


@contextmanager
def _text_of(file: Path) -> Iterator[Iterable[str]]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            yield lines
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(file)}: must be UTF-8 text, but it holds: {error.reason}") from error


def _number(
    rows: list[dict[str, str]], all_rows: Iterable[dict[str, str]]
) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
    """Labels by number, (N, K) int64 with -1 for none, and the sorted names of the classes of each kind."""
    classes: dict[str, set[str]] = {}
    for row in all_rows:
        for kind, name in row.items():
            classes.setdefault(kind, set()).add(name)
    kinds = {kind: tuple(sorted(classes[kind])) for kind in sorted(classes)}
    numbers = {kind: {name: i for i, name in enumerate(names)} for kind, names in kinds.items()}
    labels = [[numbers[kind][row[kind]] if kind in row else -1 for kind in kinds] for row in rows]
    return np.array(labels, np.int64).reshape(len(rows), len(kinds)), kinds


def some_of(lines: Iterable[str], limit: int = 10) -> list[str]:
    """The first lines of a list, indented, and how many more there are."""
    lines = list(lines)
    return [f"  {line}" for line in lines[:limit]] + ([f"  … and {len(lines) - limit} more"] * (len(lines) > limit))
