"""Files are written whole or not at all: a temporary neighbour, fsync of file and folder, then a rename."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from sfumato.errors import InputError

__all__ = [
    "atomic_path",
    "cache_folder",
    "check_writable",
    "remove_leftovers",
    "replace_folder",
    "sha256_of",
    "sync_folder",
    "temporary_name",
    "write_bytes",
    "write_text",
]

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp(\.[^.]+)?", re.DOTALL)  # what `temporary_name` makes


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving, it becomes `path` in one step. On an error nothing changes.

    The file is synced to disk before the rename, and gets the permissions that the umask gives to new files.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; the name of a file is needed")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """A name beside `path` for what is not whole yet, or no longer. `remove_leftovers` knows it."""
    # the real ending stays last: writers such as Pillow choose their format by it
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")


def remove_leftovers(folder: Path) -> None:
    """Remove what processes left in `folder` that were killed while they wrote. Nobody else may be writing there.

    What cannot be removed stays: it takes room, but is in nobody's way.
    """
    for path in folder.glob(".*.tmp*"):
        if LEFTOVER.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)


def cache_folder(cache: Path | None = None) -> Path:
    """`cache` if given, else $SFUMATO_CACHE, $XDG_CACHE_HOME/sfumato or ~/.cache/sfumato. It need not exist."""
    if cache is not None:
        return Path(cache)
    if own := os.environ.get("SFUMATO_CACHE"):
        return Path(own).expanduser()
    general = os.environ.get("XDG_CACHE_HOME")
    return (Path(general) if general else Path.home() / ".cache") / "sfumato"


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


@contextlib.contextmanager
def replace_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on leaving, it takes the place of `path`. On an error nothing changes.

    The swap is two renames. If the process dies between them, `path` is absent and its old content is left beside it
    as `.NAME.old`; the next replacement puts it back before it begins. Where `path` is a link, its target is replaced.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        os.rename(old, path)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        for file in [path for path in new.rglob("*") if path.is_file()]:
            if file.stat().st_nlink == 1:  # one more name of somebody's file keeps what its owner allows
                os.chmod(file, 0o666 & ~_umask())
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        for folder in [new, *(path for path in new.rglob("*") if path.is_dir())]:
            sync_folder(folder)
        if path.exists():
            os.rename(path, old)
        os.rename(new, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (a folder has an fsync of its own on POSIX systems)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(folder: Path, need_bytes: int) -> None:
    """Create `folder` if need be and prove that files of `need_bytes` together can be written there.

    Raises `InputError` naming the folder when it cannot be written or too little space is free.
    """
    probe = temporary_name(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
    except OSError as error:
        raise InputError(
            f"cannot write into {folder}: {error.strerror}. Choose another folder or mend its permissions."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if free < need_bytes:
        raise InputError(
            f"{folder} has {free / 1e6:.0f} MB free, but {need_bytes / 1e6:.0f} MB are needed. "
            "Free some space or choose another folder."
        )


def sha256_of(path: Path | str) -> str:
    """The sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
