"""Whatever lies at a path is recognised: folders, archives, shards by pattern, tables by split."""

from __future__ import annotations

from pathlib import Path

import pytest

from pictures import encoded, levels, tarred, zipped
from sfumato.data.locate import expanded, source_at
from sfumato.data.sources import open_data, open_source
from sfumato.errors import InputError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        tarred(tmp_path / f"s-{i:04d}.tar", [("a.png", encoded(i))])
    zipped(tmp_path / "photos.zip", {"a/x.png": encoded(1), "b/y.png": encoded(2)})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(encoded(9))
    return tmp_path


def test_open_data_takes_them_all(here: Path) -> None:
    assert levels(open_data("photos.zip", size=8).images) == [1, 2]
    assert open_data(here / "photos.zip").images.shape == (2, 32, 32, 3)
    assert open_data("photos.zip", size=(6, 10), mode="L").images.shape == (2, 6, 10, 1)
    assert levels(open_data("s-{0002..0010}.tar", size=8).images) == list(range(2, 11))
    assert levels(open_data("s-00*.tar", size=8).images) == list(range(12))
    assert levels(open_data("s-0003.tar", size=8).images) == [3]
    assert levels(open_data(".", size=8).images) == [9]  # a folder of pictures, whatever else it holds
    (here / "photos" / "a.png").unlink()
    assert levels(open_data("./", size=8).images) == list(range(12))  # the shards


def test_names_and_packs_are_no_sources(here: Path) -> None:
    assert open_source("emoji") is None
    assert open_source("cifar10/test") is None
    assert source_at("absent.zip") is None
    assert source_at("absent.tar") is None
    (here / "p.safetensors").touch()
    assert open_source("p.safetensors") is None
    with pytest.raises(InputError, match="no such file"):
        open_data("absent.zip")
    with pytest.raises(InputError, match="no such file"):
        open_data("absent.tar")


def test_patterns(here: Path) -> None:
    assert [path.name for path in expanded("s-{0009..0011}.tar")] == ["s-0009.tar", "s-0010.tar", "s-0011.tar"]
    with pytest.raises(InputError, match=r"files are missing: s-0012\.tar, s-0013\.tar"):
        expanded("s-{0010..0013}.tar")
    with pytest.raises(InputError, match="nothing matches"):
        expanded("t-*.tar")
    with pytest.raises(InputError, match="1,000,000 files"):
        expanded("s-{000..999}{000..999}.tar")
    with pytest.raises(InputError, match="stands for 0 files"):
        expanded("s-{5..3}.tar")
    (here / "s-[1].tar").write_bytes((here / "s-0001.tar").read_bytes())
    assert [path.name for path in expanded("s-[1].tar")] == ["s-[1].tar"]  # a name before it is a pattern


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.zst"])
def test_compressed_tar_files_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="unpack it"):
        source_at(name)


def test_tables_of_several_splits_are_refused(here: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        (here / "hf" / "data").mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"image": [encoded(len(name))]}), here / "hf" / "data" / f"{name}.parquet")
    with pytest.raises(InputError, match=r"holds the splits test, train: name one, such as '.*test\*\.parquet'"):
        open_data("hf/")
    assert len(open_data("hf/data/train-*.parquet")) == 2
