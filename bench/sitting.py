"""A process that trains, and what befalls it: for bench/soak.py. A fork, so that it begins within milliseconds."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import resource
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from sfumato.errors import SfumatoError
from sfumato.models import folder as model_folder
from sfumato.training import checkpoint
from sfumato.training.averages import Averages

__all__ = ["ELSEWHERE", "PLACES", "Board", "End", "Trap", "call", "die", "fill", "limit", "lock", "sit"]

ELSEWHERE = "elsewhere"
PLACES = (ELSEWHERE, "checkpoint", "snapshot", "model")  # what a process is saving, if anything
LATER = 0.003  # s, at most, between a file operation and the kill that it brings about
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}  # as Python's audit hooks name them
BROKEN = 70  # exit status after an error that nobody foresaw


class Board:
    """What a sitting tells, in memory that outlives it: numbers by name.

    `place` is the number of the one where it is, and by the name of each is how many file operations it did there;
    `saves` is how many checkpoints it has begun, and `first_save_ns` when; `restored` the pictures that it went on
    from, or -1.
    """

    NAMES = ("place", *PLACES, "saves", "first_save_ns", "restored")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * len(self.NAMES))

    def clear(self) -> None:
        for name in self.NAMES:
            self[name] = 0
        self["restored"] = -1

    def __getitem__(self, name: str) -> int:
        return struct.unpack_from("q", self._memory, 8 * self.NAMES.index(name))[0]

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("q", self._memory, 8 * self.NAMES.index(name), value)


class Trap(NamedTuple):
    """What happens in a sitting right before file operation number `at` in a place."""

    place: str
    at: int
    spring: Callable[[int], None]  # given what `call` writes to


class End(NamedTuple):
    status: int  # as a shell has it; -9 when it was killed
    said: str


def die(pipe: int) -> None:
    """A kill between two file operations."""
    os.kill(os.getpid(), signal.SIGKILL)


def call(pipe: int) -> None:
    """A kill a moment later, by the process that watches."""
    os.write(pipe, b"!")


def fill(ballast: Path, room: int) -> None:
    """Leave `room` bytes on the disk where `ballast` lies."""
    disk = os.statvfs(ballast.parent)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(disk.f_bavail * disk.f_frsize - room, 1))


def limit(room: int) -> None:
    """Let no file grow beyond `room` bytes: the like of a full disk, where none can be mounted."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


def lock(folder: Path) -> None:
    """Let nothing in `folder` appear or go."""
    folder.chmod(0o555)


def sit(
    work: Callable[[Console], object],
    board: Board,
    said: Path,
    trap: Trap | None = None,
    within: float | None = None,
    user: int | None = None,
) -> End:
    """Do `work` in a process of its own, and wait for its end.

    Args:
        work: given where progress goes.
        board: cleared, then written by that process.
        said: file for what it says.
        trap: what befalls it.
        within: seconds after which it is killed.
        user: number of the user that it works as; default: this one.
    """
    board.clear()
    heard, told = os.pipe()
    process = os.fork()
    if not process:
        status = BROKEN
        try:
            status = _work(work, board, said, trap, told, user)
        finally:
            os._exit(status)
    os.close(told)
    ready, _, _ = select.select([heard], [], [], within)
    called = bool(ready) and os.read(heard, 1) == b"!"
    if called:
        time.sleep(random.uniform(0, LATER))
    if called or not ready:
        os.kill(process, signal.SIGKILL)
    os.close(heard)
    return End(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.read_text())


def _work(
    work: Callable[[Console], object], board: Board, said: Path, trap: Trap | None, pipe: int, user: int | None
) -> int:
    with open(said, "w") as file:
        try:
            if user is not None:
                os.setuid(user)
            _watch(board, trap, pipe)
            work(Console(file=file, width=1000))
        except SfumatoError as error:
            file.write(str(error))
            return error.exit_code
        except BaseException:
            file.write(traceback.format_exc())
            return BROKEN
    return 0


def _watch(board: Board, trap: Trap | None, pipe: int) -> None:
    """Let this process, for the rest of its life, note what it does, and fall into the trap."""

    @contextlib.contextmanager
    def saving(place: str) -> Iterator[None]:
        board["place"] = PLACES.index(place)
        yield
        board["place"] = PLACES.index(ELSEWHERE)

    def noted(save: Callable, place: str) -> Any:
        def noting(*given: Any, **more: Any) -> Any:
            if place == "checkpoint":
                board["saves"] += 1
                board["first_save_ns"] = board["first_save_ns"] or time.monotonic_ns()
            with saving(place):
                return save(*given, **more)

        return noting

    honest, replace_folder = checkpoint.restore, model_folder.replace_folder

    def restore(*given: Any, **more: Any) -> Any:
        position = honest(*given, **more)
        board["restored"] = position.seen
        return position

    @contextlib.contextmanager
    def replacing(path: Path) -> Iterator[Path]:
        with saving("model"), replace_folder(path) as new:
            yield new

    def hook(event: str, arguments: object) -> None:
        if event in OPERATIONS:
            place = PLACES[board["place"]]
            board[place] += 1
            if trap and place == trap.place and board[place] == trap.at:
                trap.spring(pipe)

    checkpoint.restore, checkpoint.save = restore, noted(checkpoint.save, "checkpoint")
    Averages.snapshot = noted(Averages.snapshot, "snapshot")
    model_folder.replace_folder = replacing
    sys.addaudithook(hook)
