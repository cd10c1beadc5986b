"""tuned.json in a model folder: solver tables that were fitted to these weights, and how good they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.files import write_text
from sfumato.solvers.table import Table
from sfumato.typed import build

__all__ = ["FILE", "TUNED", "TunedTable", "load_tuned", "save_tuned"]

FILE = "tuned.json"
TUNED = "tuned"
"""The name that stands for a model's own table where a solver is named."""

FORMAT = 1


@dataclass(frozen=True)
class TunedTable:
    """A learned table and what it was learned for.

    Attributes:
        table: the solver.
        guidance_scale: w at which it was fitted; at another it still runs, with less to gain.
        evidence: errors measured on seeds that the fit never saw, and the conditions.
    """

    table: Table
    guidance_scale: float
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    guidance_scale: float
    evidence: Mapping[str, Any]
    table: Mapping[str, Any]


@dataclass(frozen=True)
class _File:
    format: int
    weights_sha256: str
    tables: tuple[_Entry, ...]


def save_tuned(folder: Path, weights_sha256: str, tables: Mapping[int, TunedTable]) -> None:
    """Write tuned.json whole or not at all. Keys are numbers of steps; without any there is no file."""
    if not tables:
        return
    entries = [
        asdict(_Entry(tuned.guidance_scale, tuned.evidence, json.loads(tuned.table.to_json())))
        for _, tuned in sorted(tables.items())
    ]
    facts = {"format": FORMAT, "weights_sha256": weights_sha256, "tables": entries}
    write_text(folder / FILE, json.dumps(facts, indent=1) + "\n")


def load_tuned(folder: Path, weights_sha256: str) -> dict[int, TunedTable]:
    """The tables by number of steps; none where there is no tuned.json.

    Raises:
        InputError: when it cannot be read, or was fitted to other weights than these.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    number = facts.get("format") if isinstance(facts, dict) else None
    if number != FORMAT:
        raise InputError(f"{path}: format {number!r}, but this version reads {FORMAT}. Remove it, or update sfumato.")
    read = build(_File, facts, str(path))
    if read.weights_sha256 != weights_sha256:
        raise InputError(f"{path} was fitted to other weights. Remove it, and run: sfumato tune {folder}")
    tables = {}
    for entry in read.tables:
        try:
            table = Table.from_json(json.dumps(entry.table))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if table.times[0] <= table.times[-1]:
            raise InputError(f"{path}: the table of {table.steps} steps does not lead from noise to data")
        tables[table.steps] = TunedTable(table, entry.guidance_scale, entry.evidence)
    return tables
