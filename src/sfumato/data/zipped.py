"""A zip file of pictures as a source: read in place, as a folder would be; nothing is ever extracted."""

from __future__ import annotations

import io
import struct
import threading
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from sfumato.data.metadata import METADATA, read_metadata
from sfumato.data.source import LARGEST, Source, described, is_picture
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["zip_source"]

_ENCRYPTED = 0x1


def zip_source(path: Path | str) -> Source:
    """The pictures in a zip file, in the order of their names.

    Classes, captions and labels come as in a folder (`folder_source`). A single folder that holds everything else is
    looked through, as if its content had been zipped. Hidden files and what macOS adds (`__MACOSX`) are skipped.

    Raises:
        InputError: no zip file, a cut-off one, no pictures, a bad metadata line, two files of one name, or names that
            lead out of the archive.
    """
    path = Path(path)
    archive = _Archive(path)
    members = {name: info for name, info in archive.members.items() if not _hidden(name)}
    top = _only_folder(members)
    members = {name.removeprefix(top): info for name, info in members.items()}
    files = sorted(members)
    metadata = read_metadata(
        f"{shown(path)}/{shown(top)}".rstrip("/"),
        {name: lambda info=members[name]: io.BytesIO(archive.read(info)) for name in METADATA if name in members},
    )
    names, labels, kinds, captions, unlisted = described([name for name in files if is_picture(name)], metadata)
    if not names:
        raise InputError(f"{shown(path)} holds no pictures (.png, .jpg, .webp, …)")

    def content(i: int) -> bytes:
        info = members.get(names[i])
        if info is None:
            raise InputError("no such file")
        return archive.read(info)

    candidates = set(names).union(unlisted)
    return Source(
        name=path.stem,
        where=shown(path),
        origin=f"the zip file {shown(path.name)}",
        names=names,
        content=content,
        sizes=np.array([members[name].file_size if name in members else -1 for name in names], np.int64),
        labels=labels,
        kinds=kinds,
        captions=captions,
        unlisted=unlisted,
        ignored=tuple(sorted(metadata.ignored)) if metadata else (),
        others=tuple(name for name in files if name not in candidates and name not in METADATA),
    )


class _Archive:
    """An open zip file. Its members are unpacked one after the other: unlike decoding, that costs next to nothing."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._file = zipfile.ZipFile(path)
        # what a broken directory of a zip file leads to is nearly anything
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, struct.error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(f"{shown(path)}: no whole zip file, {shown(reason)}") from error
        infos = [info for info in self._file.infolist() if not info.is_dir()]
        self.members = {str(PurePosixPath(info.filename)): info for info in infos}
        counts = Counter(str(PurePosixPath(info.filename)) for info in infos)
        for name, count in counts.items():
            if count > 1:
                raise InputError(f"{shown(path)} holds {count} files of the name {shown(name)}: pack it anew")
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
                raise InputError(f"{shown(path)} holds {shown(name)}, which leads out of it: pack it anew")

    def read(self, info: zipfile.ZipInfo) -> bytes:
        """The content of a member. Never more is unpacked than its header declares, which is checked first."""
        if info.flag_bits & _ENCRYPTED:
            raise InputError("it is encrypted, unpack the archive with its password first")
        if info.file_size > LARGEST:
            raise InputError(f"it unpacks to {info.file_size:,} bytes, more than the limit of {LARGEST:,}")
        try:
            with self._lock, self._file.open(info) as member:
                return member.read()
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise InputError(f"cannot be unpacked, {shown(str(error)) or type(error).__name__}") from error


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts)


def _only_folder(names: dict[str, zipfile.ZipInfo]) -> str:
    """The folder, with its slash, in which everything lies; "" where there is more than one, or files beside it."""
    tops = {name.split("/", 1)[0] + "/" if "/" in name else "" for name in names}
    return tops.pop() if len(tops) == 1 else ""
