"""Folders of pictures: order, labels, metadata, and what is left out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data.folder import read_folder
from sfumato.errors import InputError


def paint(path: Path, level: int, size: tuple[int, int] = (12, 10)) -> None:
    """A picture of one grey level; the level identifies it in the data set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path)


def levels(images: np.ndarray) -> list[int]:
    return images[:, 4, 4, 0].tolist()


def test_order_is_that_of_the_relative_paths(tmp_path: Path) -> None:
    for name, level in (("b.png", 30), ("a.PNG", 10), ("Z.bmp", 0), ("a.tif", 20)):
        paint(tmp_path / name, level)
    dataset, report = read_folder(tmp_path, 8)
    assert levels(dataset.images) == [0, 10, 20, 30]
    assert dataset.images.shape == (4, 8, 8, 3)
    assert (dataset.kinds, dataset.labels.shape, dataset.captions) == ({}, (4, 0), ())
    assert (report.used, report.bad, report.text()) == (4, (), "4 pictures read")


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_change_the_result(tmp_path: Path, workers: int) -> None:
    for i in range(20):
        paint(tmp_path / f"class{i % 3}" / f"{i}.png", 10 * i, (20 + i, 30))
    (tmp_path / "class0" / "bad.png").write_bytes(b"x")
    alone, expected = read_folder(tmp_path, 8)
    together, report = read_folder(tmp_path, 8, workers=workers)
    assert alone.fingerprint == together.fingerprint
    assert report == expected


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    paint(tmp_path / "dogs" / "deep" / "a.png", 10)
    paint(tmp_path / "cats" / "b.png", 20)
    paint(tmp_path / "c.png", 30)
    dataset, _ = read_folder(tmp_path, 8, mode="L")
    assert dataset.kinds == {"class": ("cats", "dogs")}
    assert levels(dataset.images) == [30, 20, 10]
    assert dataset.labels.tolist() == [[-1], [0], [1]]
    assert dataset.images.shape[3] == 1


def test_a_broken_file_does_not_renumber_the_classes(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        paint(tmp_path / name / "x.png", 10)
    (tmp_path / "a" / "x.png").write_bytes(b"")
    dataset, report = read_folder(tmp_path, 8, max_bad=0.5)
    assert dataset.kinds == {"class": ("a", "b", "c")}
    assert dataset.labels.tolist() == [[1], [2]]
    assert [name for name, _ in report.bad] == ["a/x.png"]
    assert "a/x.png: not a picture" in report.text()


def test_hidden_files_links_and_loops(tmp_path: Path) -> None:
    paint(tmp_path / "cats" / "a.png", 10)
    paint(tmp_path / ".hidden" / "b.png", 20)
    paint(tmp_path / ".c.png", 30)
    (tmp_path / "cats" / "up").symlink_to("..")
    (tmp_path / "alias").symlink_to("cats")
    (tmp_path / "d.png").symlink_to("cats/a.png")
    dataset, _ = read_folder(tmp_path, 8)
    assert levels(dataset.images) == [10, 10]
    assert dataset.kinds == {"class": ("cats",)}


def test_names_that_are_no_utf8_and_folders_named_like_pictures(tmp_path: Path) -> None:
    paint(tmp_path / "x.png" / "a.png", 10)
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as file:
        file.write(b"broken")
    _, report = read_folder(tmp_path, 8, max_bad=0.5)
    assert report.text().encode()
    assert report.bad[0][0] == "\\udcff.png"


def test_too_many_broken_files(tmp_path: Path) -> None:
    for i in range(9):
        paint(tmp_path / f"{i}.png", 10)
    (tmp_path / "bad.png").write_bytes(b"x")
    assert read_folder(tmp_path, 8)[1].used == 9
    (tmp_path / "worse.png").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"2 of 11 .*\n  bad\.png: not a .*\n  worse\.png: no such.*\n.*data check"):
        read_folder(tmp_path, 8)


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        read_folder(tmp_path, 8)
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "absent", 8)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        read_folder(tmp_path / "file", 8)
    with pytest.raises(InputError, match="at least 1 x 1"):
        read_folder(tmp_path, 0)


def test_jsonl_gives_captions_and_labels(tmp_path: Path) -> None:
    for name, level in (("b.png", 20), ("sub/a.png", 10), ("c.png", 30), ("unlisted.png", 99)):
        paint(tmp_path / name, level)
    rows = [
        {"file_name": "sub/a.png", "text": "a red apple", "label": 3, "style": "oil", "width": 12},
        {"file_name": "./c.png", "label": "7", "style": None},
        {"file_name": "b.png", "caption": "größer", "style": "ink"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    dataset, report = read_folder(tmp_path, 8)
    assert levels(dataset.images) == [20, 30, 10]
    assert dataset.captions == ("größer", "", "a red apple")
    assert dataset.kinds == {"class": ("3", "7"), "style": ("ink", "oil")}
    assert dataset.labels.tolist() == [[-1, 0], [1, -1], [0, 1]]
    assert report.unlisted == ("unlisted.png",)
    assert report.ignored == ("width",)
    assert "unlisted.png" in report.text()


def test_csv_is_the_same(tmp_path: Path) -> None:
    for name, level in (("a.png", 10), ("b.png", 20)):
        paint(tmp_path / name, level)
    content = '\ufefffile_name,text,label\r\nb.png,"two, three\nand four",x\r\na.png,,\r\n'
    (tmp_path / "metadata.csv").write_text(content, encoding="utf-8", newline="")
    dataset, _ = read_folder(tmp_path, 8)
    assert dataset.captions == ("", "two, three\nand four")
    assert dataset.kinds == {"class": ("x",)}
    assert dataset.labels.tolist() == [[-1], [0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "expected an object"),
        ('{"text": "x"}', "file_name"),
        ('{"file_name": ""}', "file_name"),
        ('{"file_name": "../a.png"}', "inside the folder"),
        ('{"file_name": "sub/../../a.png"}', "inside the folder"),
        ('{"file_name": "/a.png"}', "inside the folder"),
        ('{"file_name": "sub\\\\a.png"}', "inside the folder"),
        ('{"file_name": "./a.png"}', "listed twice"),
        ('{"file_name": "b.png", "text": "x", "caption": "y"}', "keep one"),
        ('{"file_name": "b.png", "label": "x", "class": "y"}', "keep one"),
        ('{"file_name": "b.png", "text": 3}', "must be a text"),
        ('{"file_name": "b.png", "label": true}', "whole number"),
    ],
)
def test_bad_jsonl_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    paint(tmp_path / "a.png", 10)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n' + line)
    with pytest.raises(InputError, match=rf"metadata\.jsonl, line 2: .*{message}"):
        read_folder(tmp_path, 8)


@pytest.mark.parametrize("line", ["a.png", "a.png,x,y", '"a.png,x', "../a.png,x"])
def test_bad_csv_lines_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text\n" + line)
    with pytest.raises(InputError, match=r"metadata\.csv, line 2: "):
        read_folder(tmp_path, 8)


def test_metadata_must_be_one_file_of_text(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"file_name\n\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read_folder(tmp_path, 8)
    (tmp_path / "metadata.jsonl").touch()
    with pytest.raises(InputError, match="both"):
        read_folder(tmp_path, 8)


def test_listed_pictures_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "absent.png"}')
    with pytest.raises(InputError, match=r"absent\.png: no such file"):
        read_folder(tmp_path, 8)
