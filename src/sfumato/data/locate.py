"""What lies at a path: a folder of pictures, a zip file, WebDataset shards, or tables."""

from __future__ import annotations

import glob
import os
import re
from itertools import product
from pathlib import Path, PurePosixPath

from sfumato.data.folder import folder_source, list_files
from sfumato.data.shards import shards_source
from sfumato.data.source import Source, is_picture
from sfumato.data.table import table_source
from sfumato.data.zipped import zip_source
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["containers", "expanded", "source_at"]

_MOST_FILES = 100_000
_TABLES = (".parquet", ".arrow")
_SPLIT = re.compile(r"(?:^|[-_./])(train|test|validation|valid|val|dev)(?=[-_./]|$)")


def source_at(spec: str | Path) -> Source | None:
    """The pictures at a path, not decoded yet; None where there is nothing, or something else, such as a pack.

    Args:
        spec: a folder of pictures, or of one kind of the following; NAME.zip; NAME.tar; NAME.parquet or NAME.arrow.
            Of the last three several, as a shell would write them: `shards-{0000..0009}.tar`, `data/train-*.parquet`.

    Raises:
        InputError: as the function for each kind; and for a compressed tar file, a pattern that nothing matches, shards
            that are missing, a folder that holds several kinds, or tables of several splits.
    """
    text = os.path.expanduser(spec)
    if Path(text).is_dir():
        found = containers(Path(text))
        return _opened(text, found) if found else folder_source(text)
    if text.lower().endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")):
        raise InputError(f"{shown(text)}: pictures in a compressed tar file cannot be found by their places; unpack it")
    suffix = PurePosixPath(text).suffix.lower()
    if suffix == ".zip":
        return zip_source(text) if Path(text).exists() else None
    if suffix in (".tar", *_TABLES):
        paths = expanded(text)
        if paths:
            return _opened(text, paths)
    return None


def expanded(pattern: str) -> list[Path]:
    """The files that a pattern with `{first..last}` and `*` stands for, in order; none where it is a plain absent path.

    Raises:
        InputError: a numbered file is missing, nothing matches, or there are more than 100,000.
    """
    pieces = re.split(r"\{([0-9]+)\.\.([0-9]+)\}", pattern)
    fixed, ranges = pieces[::3], list(zip(pieces[1::3], pieces[2::3], strict=True))
    count = 1
    for first, last in ranges:
        count *= max(0, int(last) - int(first) + 1)
    if not 1 <= count <= _MOST_FILES:
        raise InputError(f"{shown(pattern)} stands for {count:,} files; 1 … {_MOST_FILES:,} are possible")
    numbers = [[f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)] for first, last in ranges]
    paths: list[Path] = []
    for chosen in product(*numbers):
        text = "".join(part + number for part, number in zip(fixed, (*chosen, ""), strict=True))
        found = sorted(glob.glob(text)) if glob.has_magic(text) and not Path(text).exists() else [text]
        paths += map(Path, found)
    missing = [path for path in paths if not path.is_file()]
    if missing == paths and paths == [Path(pattern)]:
        return []
    if missing or not paths:
        named = ", ".join(shown(path) for path in missing[:5]) or "nothing matches"
        raise InputError(f"{shown(pattern)}: files are missing: {named}{' …' * (len(missing) > 5)}")
    return paths


def containers(folder: Path) -> list[Path]:
    """The tar files or tables in a folder that holds no pictures by themselves; none in a folder of pictures."""
    files = list_files(folder)
    if any(map(is_picture, files)):
        return []
    kinds = ([folder / name for name in files if name.endswith(suffix)] for suffix in (".tar", *_TABLES))
    return next(filter(None, kinds), [])


def _opened(text: str, paths: list[Path]) -> Source:
    """Tar files, or tables of one split: training on a test part by accident should not be that easy."""
    if paths[0].suffix not in _TABLES:
        return shards_source(paths)
    base = os.path.commonpath([path.parent for path in paths])
    splits = {match[-1] for path in paths if (match := _SPLIT.findall(os.path.relpath(path, base)))}
    if len(splits) > 1:
        raise InputError(
            f"{shown(text)} holds the splits {', '.join(sorted(splits))}: name one, such as "
            f"'{shown(Path(base) / ('*' + min(splits) + '*' + paths[0].suffix))}'"
        )
    return table_source(paths)
