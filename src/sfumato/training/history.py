"""What the folder of a run tells of it: its config, its log, its sheets of samples, and how far it is."""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.training.config import stored_config
from sfumato.training.entries import entries

__all__ = ["History", "read_history"]


@dataclass(frozen=True)
class History:
    """A run, finished or not, as its folder has it.

    Attributes:
        folder: of the run.
        verb: the command that goes on with it.
        config: its options, as plain values.
        lines: of its log, each with the `pictures` seen.
        unreadable: lines of the log that are none, which is what a machine leaves that lost power.
        sheets: pictures seen, and the file of the samples made then.
        seen: pictures, by the log or by the newest checkpoint.
        going: whether a process holds the folder now.
        facts: what the model says of its training; empty where there is none yet.
    """

    folder: Path
    verb: str
    config: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]
    unreadable: int
    sheets: tuple[tuple[int, Path], ...]
    seen: int
    going: bool
    facts: Mapping[str, Any]

    @property
    def asked(self) -> int:
        """Pictures of the whole run."""
        return int(self.config["pictures"])

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Pictures seen, and a number of the log wherever it is there and finite."""
        found = [(line["pictures"], line[name]) for line in self.lines if _finite(line.get(name))]
        return [seen for seen, _ in found], [float(value) for _, value in found]

    def by_time(self) -> list[tuple[int, Mapping[str, list[float | None]]]]:
        """Pictures seen, and the losses by time, of the lines that have them."""
        return [(line["pictures"], line["by_time"]) for line in self.lines if _is_by_time(line.get("by_time"))]

    def warnings(self) -> Iterator[tuple[int, str]]:
        """Pictures seen when a warning was given, and its text."""
        for line in self.lines:
            given = line.get("warnings")
            for text in given.values() if isinstance(given, dict) else ():
                yield line["pictures"], str(text)


def read_history(folder: Path) -> History:
    """Read a run's folder; nothing is changed in it, and it may be in use.

    Raises:
        InputError: when there is no run, or its config cannot be read.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no run: it has no config.json. Give the folder that was --out of a training.")
    config = stored_config(folder)
    if not isinstance(config.get("pictures"), int):
        raise InputError(f"{folder / 'config.json'} is not the config of a run: it does not say how many pictures")
    lines, unreadable = _log(folder / "log.jsonl")
    saved = [int(path.name[:12]) for path in entries(folder / "checkpoints")]
    return History(
        folder,
        "train" if "objective" in config else "train-autoencoder",
        config,
        tuple(lines),
        unreadable,
        tuple(_sheets(folder / "samples")),
        max([0, *(line["pictures"] for line in lines[-1:]), *saved]),
        _is_held(folder / ".lock"),
        _facts(folder / "model" / "model.json"),
    )


def _log(path: Path) -> tuple[list[Mapping[str, Any]], int]:
    """Lines that can be used, and how many cannot."""
    try:
        texts = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    lines, unreadable = [], 0
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict) and type(line.get("pictures")) is int and line["pictures"] > 0:
            lines.append(line)
        else:
            unreadable += 1
    return lines, unreadable


def _sheets(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(folder.glob("*.png")):
        if path.stem.isdecimal() and path.is_file():
            yield int(path.stem), path


def _facts(path: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads(path.read_text("utf-8"))["training"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_held(path: Path) -> bool:
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_by_time(value: object) -> bool:
    """Whether it has what `ByTime.means` writes."""
    if not isinstance(value, dict):
        return False
    rows = [value.get(name) for name in ("pictures", "loss", "trivial", "v_error")]
    return all(isinstance(row, list) and row and all(x is None or _finite(x) for x in row) for row in rows) and (
        len({len(row) for row in rows if isinstance(row, list)}) == 1
    )
