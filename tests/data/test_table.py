"""Parquet and Arrow files: columns are found by what `datasets` notes of them, or by their types and names."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pictures import encoded, levels
from sfumato.data.framing import Framing
from sfumato.data.on_demand import OnDemand
from sfumato.data.reading import read_source
from sfumato.data.table import table_source
from sfumato.errors import InputError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

HF = {
    "image": {"_type": "Image"},
    "mask": {"_type": "Image2"},
    "label": {"names": ["zebra", "ant"], "_type": "ClassLabel"},
    "style": {"names": ["ink"], "_type": "ClassLabel"},
}


def columns(count: int = 5) -> dict[str, Any]:
    return {
        "image": [{"bytes": encoded(10 * i), "path": f"{i}.png"} for i in range(count)],
        "label": [i % 2 for i in range(count)],
        "style": [None, *[0] * (count - 1)],
        "text": [f"number {i}" for i in range(count - 1)] + [None],
        "url": ["http://x"] * count,
    }


def write(path: Path, values: dict[str, Any], features: dict[str, Any] | None = None) -> Path:
    table = pa.table(values)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=2)
        return path
    with pa.OSFile(str(path), "wb") as out:
        new = pa.ipc.new_stream if path.stem.startswith("stream") else pa.ipc.new_file
        with new(out, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
def test_what_datasets_writes_is_read(tmp_path: Path, name: str) -> None:
    paths = [write(tmp_path / each, columns(), HF) for each in (name, name.replace(".", "2."))]
    source = table_source(paths)
    dataset, _ = read_source(source, Framing.of(8), workers=3)
    assert levels(dataset.images) == [0, 10, 20, 30, 40] * 2
    assert dataset.kinds == {"class": ("zebra", "ant"), "style": ("ink",)}
    assert dataset.labels.tolist() == [[0, -1], [1, 0], [0, 0], [1, 0], [0, 0]] * 2
    assert dataset.captions[3:6] == ("number 3", "", "number 0")
    assert source.ignored == ("url",)
    assert source.names[6] == f"{paths[1].name}:1"
    assert source.by_index == (not name.endswith("parquet"))
    assert [source.content(i) for i in (9, 0, 4)] == [encoded(40), encoded(0), encoded(40)]


def test_plain_columns_do_too(tmp_path: Path) -> None:
    values = {"picture": [encoded(1), encoded(2), None], "label": ["10", None, "9"], "caption": ["a", "b", "c"]}
    dataset, report = read_source(table_source([write(tmp_path / "a.parquet", values)]), Framing.of(8))
    assert levels(dataset.images) == [1, 2]
    assert (dataset.kinds, dataset.labels.tolist()) == ({"class": ("9", "10")}, [[1], [-1]])
    assert report.bad == (("a.parquet:2", "the table holds no bytes of it"),)


@pytest.mark.parametrize(
    ("values", "features", "message"),
    [
        ({"a": [1]}, None, r"one column of encoded pictures is needed, not 0 \(of a\)"),
        ({"a": [b""], "b": [b""]}, None, "not 2"),
        ({"a": [b"x"], "label": [1.5]}, None, "whole number"),
        ({"a": [b"x"], "label": [2]}, HF, "must lie in -1 … 1"),
        ({"a": [b"x"], "label": ["2"]}, HF, "must lie in -1 … 1"),
        ({"a": [b"x"], "caption": [1]}, None, "captions must be texts"),
        ({"a": [b"x"], "caption": ["1"], "text": ["2"]}, None, "both columns caption and text"),
        ({"a": [b"x"], "label": ["1"], "class": ["2"]}, None, "both columns label and class"),
        ({"a": pa.array([], pa.binary())}, None, "holds no pictures"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, values: Any, features: Any, message: str) -> None:
    for name in ("a.parquet", "a.arrow"):
        with pytest.raises(InputError, match=message):
            table_source([write(tmp_path / name, values, features)])


def test_files_of_other_columns_are_named(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.parquet", columns()), write(tmp_path / "b.parquet", {"image": [b"x"]})]
    with pytest.raises(InputError, match=r"b\.parquet has no column label, unlike"):
        table_source(paths)


@pytest.mark.parametrize("plain", [False, True])
def test_arrow_knows_the_bytes_of_each_picture_without_reading_them(tmp_path: Path, plain: bool) -> None:
    pictures: list[Any] = [b"12345", None, b"", b"123"]
    values = pictures if plain else [None if p is None else {"bytes": p, "path": "x"} for p in pictures]
    source = table_source([write(tmp_path / f"{i}.arrow", {"image": values[i:]}) for i in range(2)])
    assert source.sizes.tolist() == [5, -1, 0, 3, -1, 0, 3]
    source = table_source([write(tmp_path / "a.parquet", {"image": values})])
    assert source.sizes.tolist() == [-1] * 4


def test_arrow_is_read_on_demand_and_parquet_is_refused(tmp_path: Path) -> None:
    values = columns()
    live = OnDemand(table_source([write(tmp_path / "a.arrow", values)]), Framing.of(8))
    assert levels(live.fetch(np.array([3, 0]), [0, 1]).images) == [30, 0]
    values["image"][2] = {"bytes": encoded(20, (40, 30)), "path": "2.png"}
    (tmp_path / "new").mkdir()
    changed = OnDemand(table_source([write(tmp_path / "new" / "a.arrow", values)]), Framing.of(8))
    assert changed.fingerprint != live.fingerprint
    with pytest.raises(InputError, match=r"cannot be read picture by picture\. Pack it"):
        OnDemand(table_source([write(tmp_path / "a.parquet", values)]), Framing.of(8))


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
def test_cut_off_and_absent_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read as a table"):
        table_source([tmp_path / name])
    path = write(tmp_path / name, columns())
    content = path.read_bytes()
    for size in (0, 3, len(content) // 3):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match="cannot be read as a table"):
            table_source([path])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_parquet_gives_a_data_set_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    path = write(tmp_path / "a.parquet", columns(), HF)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        read_source(table_source([path]), Framing.of(8), max_bad=1)
    except InputError:
        return


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", columns())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'sfumato\[table\]'"):
        table_source([path])
    shutil.rmtree(tmp_path)
