"""WebDataset shards: samples are found by scanning tar headers, and bad archives are refused by name."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pictures import encoded, levels, tarred
from sfumato.data.framing import Framing
from sfumato.data.reading import read_source
from sfumato.data.shards import shards_source
from sfumato.errors import InputError

MEMBERS = [
    ("000.jpg", encoded(10, kind="JPEG")),
    ("000.cls", b"10\n"),
    ("000.txt", "größer\n".encode()),
    ("001.json", json.dumps({"caption": "a moth", "label": 2, "url": "http://x", "width": 3}).encode()),
    ("001.PNG", encoded(20)),
    ("part/002.webp", encoded(30, kind="WEBP")),
    ("part/002.seg.png", encoded(99)),
]


def test_samples_are_read_in_order(tmp_path: Path) -> None:
    first = tarred(tmp_path / "a-0.tar", MEMBERS)
    second = tarred(tmp_path / "a-1.tar", [("000.png", encoded(40)), ("000.cls", b"2")])
    source = shards_source([first, second])
    dataset, report = read_source(source, Framing.of(8), workers=2)
    assert levels(dataset.images) == [10, 20, 30, 40]
    assert source.names == ["a-0.tar/000.jpg", "a-0.tar/001.PNG", "a-0.tar/part/002.webp", "a-1.tar/000.png"]
    assert dataset.kinds == {"class": ("2", "10")}
    assert dataset.labels.tolist() == [[1], [0], [-1], [0]]
    assert dataset.captions == ("größer", "a moth", "", "")
    assert source.ignored == report.ignored == ("url", "width")
    assert source.others == ("a-0.tar/part/002.seg.png",)
    assert source.sizes.tolist() == [len(MEMBERS[i][1]) for i in (0, 4, 5)] + [len(encoded(40))]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(tmp_path: Path, form: int) -> None:
    name = "ä" * 40 + "/" + "b" * 20 + ".png"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(encoded(7))
        archive.addfile(member, io.BytesIO(encoded(7)))
    source = shards_source([tmp_path / "a.tar"])
    assert list(source.names) == [f"a.tar/{name}"]
    assert source.content(0) == encoded(7)


def test_links_and_devices_are_no_pictures(tmp_path: Path) -> None:
    """A link named like a picture must not make us read what it points at."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(66))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("f.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        member = tarfile.TarInfo("../../etc/a.png")
        member.size = len(encoded(5))
        archive.addfile(member, io.BytesIO(encoded(5)))
    source = shards_source([tmp_path / "a.tar"])
    assert source.others == ("a.tar/s.png", "a.tar/h.png", "a.tar/f.png")
    assert levels(read_source(source, Framing.of(8))[0].images) == [5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "secret.png"]  # nothing was extracted


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", b""), ("a.jpg", b"")], r"a\.tar/a\.jpg: the sample a has two of one kind: picture"),
        ([("a.png", b""), ("a.png", b"")], "two of one kind: picture"),
        ([("a.txt", b"x"), ("a.json", b'{"text": "y"}')], "two of one kind: caption"),
        ([("a.cls", b"1"), ("a.json", b'{"label": 2}')], "two of one kind: label"),
        ([("a.txt", b"\xff\xfe")], r"a\.tar/a\.txt: .*utf-8"),
        ([("a.json", b"{")], r"a\.tar/a\.json: "),
        ([("a.json", b"[" * 100_000)], r"a\.tar/a\.json: "),
        ([("a.json", b"[1]")], "expected an object"),
        ([("a.json", b'{"text": 3}')], "must be a text"),
        ([("a.json", b'{"label": [1]}')], "whole number"),
        ([("a.txt", bytes(2**20 + 1))], "a text of 1,048,577 bytes"),
        ([("a.txt", b"x")], "no pictures"),
        ([], "no pictures"),
    ],
)
def test_bad_samples_are_named(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        shards_source([tarred(tmp_path / "a.tar", members)])


def test_a_cut_off_archive_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tarred(tmp_path / "a.tar", [("a.png", encoded(1)), ("b.png", encoded(2))])
    content = path.read_bytes()
    path.write_bytes(content[:1540])  # within the second picture: 512 + 512 + 512 + 4
    with pytest.raises(InputError, match=r"a\.tar was cut off within b\.png"):
        shards_source([path])
    path.write_bytes(content[:1024])  # between two: nothing proves it, but the end mark is missing
    with caplog.at_level(logging.WARNING):
        assert len(shards_source([path])) == 1
    assert "no end mark" in caplog.text


def test_what_shrinks_later_is_reported(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", [("a.png", encoded(1)), ("b.png", encoded(2))])
    source = shards_source([path])
    path.write_bytes(path.read_bytes()[:1540])
    _, report = read_source(source, Framing.of(8))
    assert report.bad == (("a.tar/b.png", "it was cut off"),)


@pytest.mark.parametrize("kind", ["gz", "text", "folder", "absent"])
def test_what_is_no_tar_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    if kind == "gz":
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("a.png"))
    elif kind == "text":
        path.write_text("hello " * 1000)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=r"a\.tar: (no tar file|cannot be read)"):
        shards_source([path])


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_gives_a_data_set_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tarred(tmp_path / "a.tar", MEMBERS)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        read_source(shards_source([path]), Framing.of(8), max_bad=1)
    except InputError:
        return
