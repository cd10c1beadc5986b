"""The entries of a run's checkpoints folder: which there are, which one is used, and which have to go.

An entry is a file NNN.safetensors, or a folder NNN of shards; NNN are the pictures seen. `latest` names the newest and
its checksum. It is moved once that entry is durable, and before older ones go: whenever a process dies, it names an
entry that is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from sfumato.errors import InputError
from sfumato.files import check_writable, temporary_name, write_text

__all__ = ["LATEST", "DamagedError", "check_room", "commit", "entries", "newest_whole"]

LATEST = "latest"
NAME = re.compile(r"\d{12}(\.safetensors)?", re.ASCII)
HALF = re.compile(r"\.\d{12}\.(new|old)", re.ASCII)  # what `replace_folder` leaves of a folder when it is killed
SHA256 = re.compile(r"[0-9a-f]{64}")
ASIDE = ".damaged"
MOST = 4096  # bytes of `latest`

Content = TypeVar("Content")


class DamagedError(Exception):
    """An entry is not what was written. Says why; for `newest_whole`, never shown as it is."""


class Latest(NamedTuple):
    """What the pointer says."""

    entry: str
    sha256: str


def entries(folder: Path) -> list[Path]:
    """The entries of a checkpoints folder, oldest first. Raises `InputError` when it cannot be read."""
    return [folder / name for name in _names(folder) if NAME.fullmatch(name)]


def check_room(folder: Path, each: int, keep: int) -> None:
    """Prove that a run can write entries of `each` bytes there: those to keep, the next one, and a model beside them.

    Raises `InputError` when the folder cannot be written, or too little is free beside the entries that it holds.
    """
    files = [file for path in entries(folder) for file in (path.rglob("*") if path.is_dir() else [path])]
    check_writable(folder, need_bytes=(keep + 2) * each - sum(file.lstat().st_size for file in files))


def commit(folder: Path, name: str, sha256: str, keep: int) -> None:
    """Let `latest` name an entry that is durable; then remove all but it and the `keep - 1` before it.

    Entries after it go too: a sitting left them behind that died before it could commit them.

    Raises `OSError` when that cannot be written; the entry named before stays.
    """
    _point(folder, name, sha256)
    known = entries(folder)
    place = [path.name for path in known].index(name)
    halves = [folder / left for left in _names(folder) if HALF.fullmatch(left)]
    for old in known[: max(place + 1 - keep, 0)] + known[place + 1 :] + halves:
        _remove(old)


def newest_whole(
    folder: Path, read: Callable[[Path], tuple[Content, str]], say: Callable[[str], None]
) -> Content | None:
    """What `read` makes of the newest entry that is whole: of the one that `latest` names, else of the next.

    Those passed over get the ending .damaged, `say` is told of each and why, and `latest` then names the one used.
    Entries after that one go: a sitting left them behind that died before it could commit them, and the log that they
    know the length of will be written anew.

    Args:
        folder: the checkpoints folder; it need not exist.
        read: content and checksum of an entry. Raises `DamagedError` when it is not whole.
        say: told in whole sentences.

    Returns:
        None where the folder holds no trace of a checkpoint.

    Raises:
        InputError: when there were some and none is whole (nothing is changed then), or when the folder cannot be read
            or written.
    """
    latest, passed = None, []
    try:
        latest = _latest(folder)
    except DamagedError as error:
        passed.append((folder / LATEST, str(error)))
    named = [folder / latest.entry] if latest else []
    for path in dict.fromkeys([*named, *reversed(entries(folder))]):
        try:
            if not os.path.lexists(path):
                raise DamagedError("it is gone")
            content, sha256 = read(path)
            if latest and path in named and sha256 != latest.sha256:
                raise DamagedError(f"it is not the one that {LATEST} was written for")
        except DamagedError as error:
            passed.append((path, str(error)))
            continue
        try:
            for other, why in passed:
                say(f"WARNING: passed over {other}: {why}. {_set_aside(other)}Going on from {path.name}.")
            if passed:
                _point(folder, path.name, sha256)
            for later in entries(folder):
                if later.name > path.name:
                    _remove(later)
        except OSError as error:
            raise InputError(f"cannot write into {folder}: {error.strerror or error}") from error
        return content
    passed += [(folder / name, "it was damaged") for name in _names(folder) if name.endswith(ASIDE)]
    if passed:
        whys = "".join(f"\n  {path.name}: {why}" for path, why in passed)
        raise InputError(
            f"no checkpoint in {folder} is whole:{whys}\nPut back a copy of one, if there is any, and remove "
            f"{folder / LATEST}; or start again in another folder."
        )
    return None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # what Path.glob finds in a folder that it may not read is nothing at all
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error


def _latest(folder: Path) -> Latest | None:
    """What the pointer says; None where there is none, as in runs from before there were pointers."""
    path = folder / LATEST
    if not os.path.lexists(path):
        return None
    if not path.is_file():  # opening something else might wait for ever
        raise DamagedError("it is not a file")
    try:
        with open(path, "rb") as file:
            facts = json.loads(file.read(MOST).decode())
        entry, sha256 = facts["entry"], facts["sha256"]
        if NAME.fullmatch(entry) and SHA256.fullmatch(sha256):
            return Latest(entry, sha256)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedError(f"it cannot be read ({type(error).__name__})") from error
    raise DamagedError("it names nothing that could be a checkpoint")


def _point(folder: Path, name: str, sha256: str) -> None:
    write_text(folder / LATEST, json.dumps(Latest(name, sha256)._asdict()) + "\n")


def _set_aside(path: Path) -> str:
    """Keep a damaged entry under another name, for whom it may concern. Returns what to say of that."""
    if not NAME.fullmatch(path.name) or not os.path.lexists(path):
        return ""
    aside = path.with_suffix(ASIDE)
    if os.path.lexists(aside):
        _remove(aside)
    path.rename(aside)
    return f"It is kept as {aside.name}. "


def _remove(path: Path) -> None:
    """Remove a file; or a folder, in one step as far as its name goes, so that no half of it is taken for an entry."""
    if path.is_dir() and not path.is_symlink():
        gone = temporary_name(path)
        path.rename(gone)
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)
