"""Zip files are read as folders are; hostile ones are refused, or their bad pictures left out."""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pictures import encoded, levels, zipped
from sfumato.data.folder import folder_source
from sfumato.data.framing import Framing
from sfumato.data.reading import read_source
from sfumato.data.zipped import zip_source
from sfumato.errors import InputError

FILES = {"dogs/a.png": encoded(10), "cats/deep/b.jpg": encoded(20, kind="JPEG"), "c.webp": encoded(30, kind="WEBP")}


def read(path: Path, **how):
    return read_source(zip_source(path), Framing.of(8), **how)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("metadata", ["", '{"file_name": "c.webp", "text": "a moth", "label": 3}'])
def test_is_what_the_unpacked_folder_is(tmp_path: Path, method: int, metadata: str) -> None:
    files = FILES | ({"metadata.jsonl": metadata.encode()} if metadata else {})
    path = zipped(tmp_path / "photos.zip", files, method)
    shutil.unpack_archive(path, tmp_path / "photos")
    expected = folder_source(tmp_path / "photos")
    source = zip_source(path)
    for name in ("name", "names", "kinds", "captions", "unlisted", "ignored", "others"):
        assert getattr(source, name) == getattr(expected, name)
    assert source.fingerprint == expected.fingerprint
    want, _ = read_source(expected, Framing.of(8))
    got, report = read(path, workers=3)
    assert got.fingerprint == want.fingerprint
    assert (report.used, report.bad) == (len(want), ())


def test_one_folder_around_everything_is_looked_through(tmp_path: Path) -> None:
    files = {f"photos/{name}": content for name, content in FILES.items()}
    extra = {"__MACOSX/photos/._a.png": b"x", "photos/.DS_Store": b"x", "photos/.hidden/d.png": encoded(40)}
    source = zip_source(zipped(tmp_path / "a.zip", files | extra | {"photos/notes.txt": b"x"}))
    assert source.names == ["c.webp", "cats/deep/b.jpg", "dogs/a.png"]
    assert source.kinds == {"class": ("cats", "dogs")}
    assert source.others == ("notes.txt",)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.zipped.LARGEST", 100_000)
    _, report = read(zipped(tmp_path / "a.zip", FILES | {"bomb.png": bytes(100_001)}))
    assert report.bad[0][0] == "bomb.png"
    assert "unpacks to 100,001 bytes" in report.bad[0][1]


def test_a_header_that_lies_is_noticed(tmp_path: Path) -> None:
    """More is packed than the directory declares: no more than that is unpacked, and the check sum tells."""
    path = zipped(tmp_path / "a.zip", FILES | {"bomb.png": bytes(100_000)})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"bomb.png") - 46
    assert struct.unpack_from("<I", content, entry + 24) == (100_000,)
    struct.pack_into("<I", content, entry + 24, 50)
    path.write_bytes(content)
    assert [name for name, _ in read(path)[1].bad] == ["bomb.png"]


def test_encrypted_pictures_say_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    content = bytearray(path.read_bytes())
    for place in (content.index(b"dogs/a.png") - 30 + 6, content.rindex(b"dogs/a.png") - 46 + 8):
        content[place] |= 1
    path.write_bytes(content)
    _, report = read(path)
    assert report.bad == (("dogs/a.png", "it is encrypted, unpack the archive with its password first"),)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "x/../../a.png", "x\\..\\a.png"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads out of it"):
        zip_source(zipped(tmp_path / "a.zip", FILES | {name: encoded(1)}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["c.webp", "./c.webp", "dogs//a.png"])
def test_two_files_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, encoded(99))
    with pytest.raises(InputError, match="holds 2 files of the name"):
        zip_source(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_a_cut_off_file_is_refused(tmp_path: Path, share: float) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.zip: no whole zip file"):
        zip_source(path)


def test_what_holds_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        zip_source(zipped(tmp_path / "a.zip", {}))
    with pytest.raises(InputError, match="holds no pictures"):
        zip_source(zipped(tmp_path / "b.zip", {"a.txt": b"x"}))
    with pytest.raises(InputError, match=r"metadata\.jsonl, line 1: is no JSON"):
        zip_source(zipped(tmp_path / "c.zip", {"metadata.jsonl": b"{"}))
    with pytest.raises(InputError, match="no whole zip file"):
        zip_source(tmp_path)


def test_a_listed_picture_that_is_absent_is_reported(tmp_path: Path) -> None:
    rows = b'{"file_name": "c.webp"}\n{"file_name": "absent.png"}'
    _, report = read(zipped(tmp_path / "a.zip", FILES | {"metadata.jsonl": rows}))
    assert report.bad == (("absent.png", "no such file"),)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_gives_a_data_set_or_an_input_error(tmp_path: Path, data: st.DataObject) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        dataset, _ = read(path, max_bad=1)
    except InputError:
        return
    assert set(levels(dataset.images)) <= set(range(256))
    assert len(np.unique(levels(dataset.images))) <= 3
