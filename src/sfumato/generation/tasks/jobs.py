"""The rows of a CSV or JSON Lines file, each of which asks for pictures. Read one by one, so that there may be many."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfumato.errors import InputError, nearest
from sfumato.generation.request import Request, seeds_from
from sfumato.images import shown

__all__ = ["COLUMNS", "Job", "read_jobs"]

LONGEST_LINE = 1_000_000  # bytes; a prompt has at most 100,000 characters
MOST_PICTURES = 100_000  # of a row
_WHOLE = re.compile(r"[+-]?\d{1,20}")

Size = Callable[[str], tuple[int, int] | None]


@dataclass(frozen=True)
class Job:
    """What a row asks for.

    Attributes:
        where: the file, and the line at which it begins.
        line: the number of that line, from 1.
        name: of its files, without ending.
        seeds: of its pictures.
        prompt, label: what they show.
        request: how they are made.
        own_scale: whether the row itself says the guidance scale.
    """

    where: str
    line: int
    name: str
    seeds: range
    prompt: str | None
    label: str | None
    request: Request
    own_scale: bool = False

    def file(self, k: int) -> str:
        """Name of the file of picture k: NAME.png, or NAME-k.png of several."""
        n = len(self.seeds)
        return f"{self.name}.png" if n == 1 else f"{self.name}-{k:0{len(str(n - 1))}d}.png"


def read_jobs(path: Path, request: Request, seed: int, size: Size) -> Iterator[Job]:
    """The rows of a file, one after the other.

    Args:
        path: .csv with a header, or .jsonl with an object a line; UTF-8. Columns: `COLUMNS`, of which prompt or label
            must be there. A cell may be empty.
        request: holds what a row does not say.
        seed: of the first picture; the pictures of rows that name no seed count on from there.
        size: reads a size, such as 512x768.

    Raises:
        InputError: naming file and line: for no text, no rows, unknown columns (naming the nearest), values that are
            not what the column holds.
    """
    kinds = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}
    if path.suffix.lower() not in kinds:
        raise InputError(f"{shown(path)}: the rows come as .csv (with a header) or .jsonl (an object a line)")
    index = 0
    for line, row in kinds[path.suffix.lower()](path):
        where = f"{shown(path)}, line {line}"
        try:
            job = _job(where, line, row, index, request, seed, size)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        seed += 0 if "seed" in row and row["seed"] not in (None, "") else len(job.seeds)
        index += 1
        yield job
    if not index:
        raise InputError(f"{shown(path)} holds no rows")


def _job(where: str, line: int, row: Mapping[str, Any], index: int, request: Request, seed: int, size: Size) -> Job:
    prompt, label = (_optional(row, name, _text) for name in ("prompt", "label"))
    if prompt and label == "":  # an empty cell of the column that the row does not use
        label = None
    elif label and prompt == "":
        prompt = None
    if prompt is None and label is None:
        raise InputError("there is neither a prompt nor a label")
    given = {name: read(row[name], name) for name, read in COLUMNS.items() if row.get(name) not in (None, "")}
    n = given.get("n", 1)
    if not 1 <= n <= MOST_PICTURES:
        raise InputError(f"n is a whole number from 1 to {MOST_PICTURES:,}, not {n}")
    seeds = range(given.get("seed", seed), given.get("seed", seed) + n)
    for end in (seeds[0], seeds[-1]):
        seeds_from(1, end)
    changes = {name: given[name] for name in ("steps", "solver", "guidance_scale") if name in given}
    if changes.get("guidance_scale", 0) < 0:
        raise InputError(f"guidance_scale is a number from 0 upwards, not {changes['guidance_scale']}")
    if "size" in given:
        changes["size"] = size(given["size"])
    if "negative" in given:
        changes["guidance"] = replace(request.guidance, negative=given["negative"])
    name = given.get("name", f"{index:06d}")
    request = replace(request, **changes)
    return Job(where, line, _file_name(name), seeds, prompt, label, request, "guidance_scale" in given)


def _optional(row: Mapping[str, Any], name: str, read: Callable[[Any, str], Any]) -> Any:
    return None if row.get(name) is None else read(row[name], name)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} is a text, not {value!r}")
    return value


def _whole(value: Any, name: str) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} is a whole number, not {_short(value)}")
    return value


def _number(value: Any, name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} is a number, not {_short(value)}")
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _file_name(name: str) -> str:
    """The name. Raises `InputError` for one that is none on every system, or leads out of the folder."""
    bad = [c for c in name if not c.isprintable() or c in '/\\:*?"<>|']
    if bad or name[0] in ". " or name[-1] in ". " or len(name.encode(errors="replace")) > 150:
        raise InputError(
            f'{_short(name)} cannot be the name of a file: up to 150 bytes, none of / \\ : * ? " < > |, no control '
            "characters, and no dot or blank at its ends"
        )
    return name


COLUMNS: dict[str, Callable[[Any, str], Any]] = {
    "prompt": _text,
    "label": _text,
    "seed": _whole,
    "n": _whole,
    "negative": _text,
    "guidance_scale": _number,
    "steps": _whole,
    "solver": _text,
    "size": lambda value, name: str(_whole(value, name)) if isinstance(value, int) else _text(value, name),
    "name": _text,
}


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader, header, last = csv.reader(_lines(path), strict=True), None, 0
    while True:
        line = last + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{shown(path)}, line {line}: not CSV, {error}. Is a quote left open?") from error
        last = reader.line_num
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            _check_columns(header, f"{shown(path)}, line {line}")
        elif len(cells) != len(header):
            raise InputError(
                f"{shown(path)}, line {line}: {len(cells)} cells under {len(header)} columns; put a text with a comma "
                'between quotes: "a cat, red"'
            )
        else:
            yield line, dict(zip(header, cells, strict=True))


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(_lines(path), 1):
        if not text.strip():
            continue
        where = f"{shown(path)}, line {line}"
        try:
            pairs = json.loads(text, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON, {error}") from error
        if not isinstance(pairs, _Pairs):
            raise InputError(f'{where}: expected an object, such as {{"prompt": "a cat"}}, not {_short(pairs)}')
        _check_columns([key for key, _ in pairs], where)
        yield line, dict(pairs)


class _Pairs(list):
    """What stands in a JSON object, with keys that occur twice."""


def _check_columns(names: list[str], where: str) -> None:
    for i, name in enumerate(names):
        if name not in COLUMNS:
            raise InputError(f"{where}: there is no column {_short(name)}. {nearest(name, COLUMNS)}")
        if name in names[:i]:
            raise InputError(f"{where}: column {name!r} is there twice")
    if not {"prompt", "label"} & set(names):
        raise InputError(f"{where}: there is neither a prompt nor a label")


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, however large it is. Raises `InputError` for what is none."""
    line = 0
    try:
        with open(path, "rb") as file:
            while raw := file.readline(LONGEST_LINE + 1):
                line += 1
                if len(raw) > LONGEST_LINE:
                    raise InputError(f"{shown(path)}, line {line}: longer than {LONGEST_LINE:,} bytes")
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
                if "\0" in text:
                    raise InputError(f"{shown(path)}, line {line}: holds a zero byte, so it is no text")
                yield text
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)}, line {line}: no UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {error.strerror}") from error
