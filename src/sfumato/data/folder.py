"""A folder of pictures as a source: labels from its sub-folders, or captions and labels from a metadata file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.framing import Framing
from sfumato.data.metadata import METADATA, Metadata, read_metadata
from sfumato.data.reading import read_source
from sfumato.data.source import Report, Source, described, is_picture
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["folder_metadata", "folder_source", "list_files", "read_folder"]


def read_folder(
    path: Path | str,
    size: int | tuple[int, int],
    *,
    workers: int = 0,
    background: str = "white",
    max_bad: float = 0.1,
    mode: str = "RGB",
) -> tuple[Dataset, Report]:
    """Read all pictures of a folder into memory: `read_source` of `folder_source`.

    Args:
        size: side of the result in pixels, or (height, width); pictures are scaled to cover it and cropped to its
            centre.
        background: what transparent pictures are composited on.
        workers, max_bad, mode: as in `read_source`.
    """
    framing = Framing.of(size, background=background)
    return read_source(folder_source(path), framing, workers=workers, max_bad=max_bad, mode=mode)


def folder_source(path: Path | str) -> Source:
    """The pictures of a folder and its sub-folders, in the order of their relative paths.

    With a `metadata.jsonl` or `metadata.csv` in the folder, the pictures it lists are read, with its captions
    ("text" or "caption") and labels ("label" becomes the kind "class", any further text a kind by its own name).
    Without, the sub-folders are the classes of the kind "class"; pictures beside the sub-folders have no class.
    Hidden files are skipped, and a folder that links lead to more than once is read once.

    Raises:
        InputError: no such folder, no pictures, or a bad metadata line.
    """
    path = Path(path)
    files = list_files(path)
    source = source_of(path, files, folder_metadata(path))
    if not source.names:
        raise InputError(f"{shown(path)} holds no pictures (.png, .jpg, .webp, …)")
    return source


def source_of(path: Path, files: list[str], metadata: Metadata | None) -> Source:
    """The source of a folder whose files and metadata are known."""
    names, labels, kinds, captions, unlisted = described([name for name in files if is_picture(name)], metadata)
    candidates, title = set(names).union(unlisted), path.resolve().name
    return Source(
        name=title,
        where=shown(path),
        origin=f"the folder {shown(title)}",
        names=names,
        content=lambda i: path / names[i],
        sizes=np.fromiter((_bytes(path / name) for name in names), np.int64, len(names)),
        labels=labels,
        kinds=kinds,
        captions=captions,
        unlisted=unlisted,
        ignored=tuple(sorted(metadata.ignored)) if metadata else (),
        others=tuple(name for name in files if name not in candidates and name not in METADATA),
    )


def folder_metadata(path: Path) -> Metadata | None:
    """The content of the metadata file in a folder, if there is one; see `read_metadata`."""
    present = {name: partial(open, path / name, "rb") for name in METADATA if (path / name).is_file()}
    return read_metadata(shown(path), present)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # the picture itself will say why it cannot be read


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
