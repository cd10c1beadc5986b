"""Tables of pictures as a source: Parquet files, and the Arrow files that Hugging Face's `datasets` saves.

Needs pyarrow: `pip install 'sfumato[table]'`.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.data.metadata import label_text, numbered
from sfumato.data.source import LARGEST, Source
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["table_source"]

_CAPTIONS, _LABELS = ("caption", "text"), ("label", "class")


def table_source(paths: Sequence[Path]) -> Source:
    """The pictures in Parquet or Arrow files of equal columns, in the order of files and rows.

    Pictures are the one column of encoded files (bytes, or a struct with `bytes`, as `datasets` writes them). Columns
    that `datasets` calls a ClassLabel are labels, with their classes in its order; "label" (of the kind "class") also
    without. "caption" or "text" is the caption. Other columns are not read.

    A row of a Parquet file costs reading its whole group of rows: such a source is one to be read in its order, once.

    Raises:
        InputError: pyarrow is not installed, no such files, damaged ones, no column of pictures or more than one, or
            labels or captions of another type.
    """
    where = shown(paths[0]) if len(paths) == 1 else f"{shown(paths[0])} … {shown(paths[-1])}"
    parquet = paths[0].suffix == ".parquet"
    tables = [(_Parquet if parquet else _Arrow)(path) for path in paths]
    columns = _Columns(where, tables[0].schema)
    for path, table in zip(paths, tables, strict=True):
        missing = {columns.picture, *columns.described}.difference(table.schema.names)
        if missing:
            raise InputError(f"{shown(path)} has no column {shown(min(missing))}, unlike {shown(paths[0])}")
    rows = np.concatenate([[0], np.cumsum([table.rows for table in tables])])
    if rows[-1] == 0:
        raise InputError(f"{where} holds no pictures")
    texts = [table.columns(columns.described) for table in tables]
    labels, kinds = columns.labels(texts, int(rows[-1]))

    def place(i: int) -> tuple[int, int]:
        table = int(np.searchsorted(rows, i, side="right")) - 1
        return table, i - int(rows[table])

    def content(i: int) -> bytes:
        table, row = place(i)
        value = tables[table].cell(columns.picture, row)
        value = value.get("bytes") if isinstance(value, dict) else value
        if value is None:
            raise InputError("the table holds no bytes of it")
        if len(value) > LARGEST:
            raise InputError(f"it has {len(value):,} bytes, more than the limit of {LARGEST:,}")
        return value

    return Source(
        name=paths[0].stem if len(paths) == 1 else paths[0].resolve().parent.name,
        where=where,
        origin=f"the table {where}",
        names=[f"{paths[table].name}:{row}" for table, row in map(place, range(int(rows[-1])))],
        content=content,
        sizes=np.concatenate([table.sizes(columns.picture) for table in tables]),
        labels=labels,
        kinds=kinds,
        captions=columns.captions(texts),
        ignored=columns.ignored,
        by_index=not parquet,
    )


class _Columns:
    """Which column is what."""

    def __init__(self, where: str, schema: Any) -> None:
        self._where, features = where, _features(schema)
        pictures = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
        pictures = pictures or [name for name in schema.names if _holds_bytes(schema.field(name).type)]
        if len(pictures) != 1:
            found = ", ".join(shown(name) for name in schema.names)
            raise InputError(f"{where}: one column of encoded pictures is needed, not {len(pictures)} (of {found})")
        self.picture = pictures[0]
        classes = {name: f["names"] for name, f in features.items() if f.get("_type") == "ClassLabel" and "names" in f}
        self._classes = {name: tuple(map(str, names)) for name, names in classes.items() if name in schema.names}
        plain = [name for name in _LABELS if name in schema.names]
        captions = [name for name in _CAPTIONS if name in schema.names]
        for what in (plain, captions):
            if len(what) > 1:
                raise InputError(f"{where} has both columns {' and '.join(what)}: rename one of them")
        self._label = next((name for name in plain if name not in self._classes), None)
        self._caption = next(iter(captions), None)
        self.described = [*self._classes, *filter(None, [self._label, self._caption])]
        self.ignored = tuple(name for name in schema.names if name not in {self.picture, *self.described})

    def captions(self, texts: list[dict[str, list[Any]]]) -> tuple[str, ...]:
        if self._caption is None:
            return ()
        values = ["" if value is None else value for text in texts for value in text[self._caption]]
        wrong = next((value for value in values if not isinstance(value, str)), None)
        if wrong is not None:
            raise InputError(f"{self._where}: captions must be texts, not {str(wrong)[:40]!r}")
        return tuple(values)

    def labels(self, texts: list[dict[str, list[Any]]], count: int) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
        kinds: dict[str, tuple[tuple[str, ...], list[int]]] = {}
        for name, classes in self._classes.items():
            values = [-1 if value is None else value for text in texts for value in text[name]]
            if any(type(value) is not int or not -1 <= value < len(classes) for value in values):
                raise InputError(f"{self._where}: the labels {shown(name)} must lie in -1 … {len(classes) - 1}")
            kinds["class" if name in _LABELS else name] = classes, values
        if self._label is not None:
            values = [value for text in texts for value in text[self._label]]
            try:
                rows = [{} if value is None else {"class": label_text(value)} for value in values]
            except InputError as error:
                raise InputError(f"{self._where}: {error}") from error
            column, named = numbered(rows)
            if named:
                kinds["class"] = named["class"], column[:, 0].tolist()
        ordered = sorted(kinds)
        labels = np.array([kinds[kind][1] for kind in ordered], np.int64).reshape(len(ordered), count).T
        return labels, {kind: kinds[kind][0] for kind in ordered}


class _Parquet:
    """A Parquet file; the two groups of rows that were read last are kept."""

    def __init__(self, path: Path) -> None:
        import_pyarrow()
        from pyarrow import parquet

        self._path, self._lock = path, threading.Lock()
        with _errors(path):
            self._file = parquet.ParquetFile(path)
        facts = self._file.metadata
        self.schema, self.rows = self._file.schema_arrow, facts.num_rows
        self._ends = np.cumsum([facts.row_group(i).num_rows for i in range(facts.num_row_groups)])
        self._group = lru_cache(maxsize=2)(self._read_group)

    def _read_group(self, group: int, column: str) -> Any:
        with _errors(self._path):
            return self._file.read_row_group(group, columns=[column]).column(0).combine_chunks()

    def columns(self, names: list[str]) -> dict[str, list[Any]]:
        with _errors(self._path):
            return self._file.read(columns=names).to_pydict()

    def sizes(self, column: str) -> np.ndarray:
        """Not known without reading all of the column."""
        return np.full(self.rows, -1, np.int64)

    def cell(self, column: str, row: int) -> Any:
        group = int(np.searchsorted(self._ends, row, side="right"))
        with self._lock:
            values = self._group(group, column)
        return values[row - (int(self._ends[group - 1]) if group else 0)].as_py()


class _Arrow:
    """An Arrow file, mapped: rows are had in any order."""

    def __init__(self, path: Path) -> None:
        pyarrow = import_pyarrow()
        with _errors(path):
            mapped = pyarrow.memory_map(str(path))
            try:
                table = pyarrow.ipc.open_stream(mapped).read_all()
            except pyarrow.ArrowInvalid:
                mapped.seek(0)
                table = pyarrow.ipc.open_file(mapped).read_all()
        self._path, self._table, self.schema, self.rows = path, table, table.schema, table.num_rows

    def columns(self, names: list[str]) -> dict[str, list[Any]]:
        with _errors(self._path):
            return self._table.select(names).to_pydict()

    def sizes(self, column: str) -> np.ndarray:
        """Bytes of each picture, from the offsets alone; -1 where there is none."""
        compute: Any = importlib.import_module("pyarrow.compute")  # whose functions only exist once it runs
        with _errors(self._path):
            values = self._table.column(column)
            if import_pyarrow().types.is_struct(values.type):
                values = compute.struct_field(values, "bytes")
            return compute.fill_null(compute.binary_length(values), -1).to_numpy().astype(np.int64)

    def cell(self, column: str, row: int) -> Any:
        return self._table.column(column)[row].as_py()


def import_pyarrow() -> Any:
    """The module, or an `InputError` that says how to get it."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise InputError("Parquet and Arrow files need pyarrow: pip install 'sfumato[table]'") from error
    return pyarrow


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    pyarrow = import_pyarrow()
    try:
        yield
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{shown(path)}: cannot be read as a table, {shown(reason)}") from error


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What `datasets` has noted of the columns; nothing where it wrote nothing, or nothing sensible."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: value for name, value in features.items() if isinstance(value, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _holds_bytes(kind: Any) -> bool:
    types = import_pyarrow().types
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return types.is_binary(kind) or types.is_large_binary(kind)
