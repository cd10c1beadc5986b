"""What a run says while it works: a live line on a terminal, plain lines elsewhere, and log.jsonl always."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sfumato.training.board import Board

__all__ = ["Log", "Meter", "memory_mb"]


class Log:
    """log.jsonl: one line each, flushed at once; cut back to a known length when a run is resumed.

    What it is given goes to `board` too, if there is one.
    """

    def __init__(self, path: Path | None, length: int, board: Board | None = None) -> None:
        """`path` is None on a rank that does not lead: its lines are the same, and nobody finds them."""
        self._file = open(path, "ab") if path else TemporaryFile()  # noqa: SIM115 (closed on leaving)
        self.missing = max(0, length - self._file.tell())  # bytes that a checkpoint knew of and that are gone
        self._file.truncate(length - self.missing)
        self._file.seek(0, os.SEEK_END)
        self._board = board

    def write(self, **facts: object) -> None:
        self._file.write(json.dumps(facts).encode() + b"\n")
        self._file.flush()
        if self._board:
            self._board.line(facts)

    def sheet(self, seen: int, picture: np.ndarray) -> None:
        """A sheet of samples, uint8 (H, W, C), which lies in a file of its own."""
        if self._board:
            self._board.picture("samples", picture, seen)

    def settle(self) -> int:
        """Make what was written durable; return the length, for a checkpoint to remember."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board:
            self._board.close()
        try:
            self._file.close()
        except OSError:  # what could not be written still cannot
            if error is None:
                raise


class Meter:
    """Shows how far a run is.

    Args:
        total, seen: pictures in all, and at the start of this sitting.
        console: where to; a bar on a terminal, else a line for every report.
    """

    def __init__(self, total: int, seen: int, console: Console) -> None:
        self._total, self._first, self._console = total, seen, console
        self.rate = 0.0  # pictures a second in this sitting
        self._started = time.monotonic()
        self._bar = None
        if console.is_terminal:
            columns = [
                "{task.completed:,.0f}/{task.total:,.0f} pictures",
                BarColumn(),
                TextColumn("{task.description}"),
            ]
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
            self._task = self._bar.add_task("", total=total, completed=seen)

    def __enter__(self) -> Meter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def report(self, seen: int, loss: float) -> None:
        """Show a new state."""
        spent = time.monotonic() - self._started
        self.rate = (seen - self._first) / max(spent, 1e-9)
        facts = f"loss {loss:.4f}  {self.rate:.1f} pictures/s  {memory_mb():.0f} MB"
        if self._bar:
            self._bar.update(self._task, completed=seen, description=facts)
        else:
            left = (self._total - seen) / max(self.rate, 1e-9)
            self._console.print(f"{seen:>10,}/{self._total:,}  {facts}  {left / 60:.1f} min left", highlight=False)


def memory_mb() -> float:
    """Largest memory so far, in MB: of the GPU where there is one in use, else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
