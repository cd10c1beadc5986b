"""One word opens any data set."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data import sources
from sfumato.data.dataset import Dataset
from sfumato.data.pack import write_pack
from sfumato.data.sources import open_data, source_names
from sfumato.errors import InputError


def dataset(name: str, side: int = 8, channels: int = 3) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, channels), dtype=np.uint8)
    return Dataset(name, images, np.zeros((2, 0), np.int64))


def _side(options: dict[str, int]) -> dict[str, int]:
    return {"side": options["size"]} if options else {}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with folders named like data sets, and stand-ins for the data sets."""
    for name in ("emoji", "cifar10", "photos"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (50, 60), "red").save(tmp_path / name / "a.png")
    monkeypatch.chdir(tmp_path)
    for name in ("emoji", "fluent-3d", "emoji-large"):
        make = lambda select, name=name, **options: dataset(f"{name}:{select}", **_side(options))  # noqa: E731
        monkeypatch.setitem(sources.EMOJI, name, make)
    for name, channels in (("cifar10", 3), ("fashion-mnist", 1), ("mnist", 1)):
        make = lambda split, name=name, channels=channels: dataset(f"{name}:{split}", channels=channels)  # noqa: E731
        monkeypatch.setitem(sources.FETCHED, name, make)
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("emoji", "emoji:None"),
        ("emoji/food,fluent", "emoji:food,fluent"),
        ("emoji:train", "emoji::train"),
        ("emoji/:train", "emoji::train"),
        ("emoji/food:held-out", "emoji:food:held-out"),
        ("fluent-3d", "fluent-3d:None"),
        ("fluent-3d:train", "fluent-3d::train"),
        ("fluent-3d/food", "fluent-3d:food"),
        ("emoji-large/noto,food:train", "emoji-large:noto,food:train"),
        ("cifar10", "cifar10:train"),
        ("cifar10/test", "cifar10:test"),
        ("fashion-mnist/test", "fashion-mnist:test"),
        ("mnist/test", "mnist:test"),
        ("./emoji", "emoji"),
        ("emoji/", "emoji"),
        (Path("cifar10"), "cifar10"),
        ("photos", "photos"),
    ],
)
def test_names_win_unless_written_as_a_path(spec: str | Path, name: str) -> None:
    assert open_data(spec).name == name


def test_folders_and_packs(here: Path) -> None:
    assert open_data("photos").images.shape == (1, 32, 32, 3)
    assert open_data(str(here / "photos"), size=16, mode="L").images.shape == (1, 16, 16, 1)
    write_pack(dataset("packed"), here / "p.safetensors")
    assert open_data("p.safetensors").name == "packed"
    assert open_data("p.safetensors", size=4).images.shape == (2, 4, 4, 3)


@pytest.mark.usefixtures("here")
def test_size_and_mode_as_asked() -> None:
    stored = open_data("cifar10")
    assert np.array_equal(open_data("cifar10", size=8, mode="RGB").images, stored.images)
    grey = open_data("cifar10", mode="L").images
    assert np.array_equal(grey[1, :, :, 0], np.asarray(Image.fromarray(stored.images[1]).convert("L")))
    assert open_data("fashion-mnist").images.shape == (2, 8, 8, 1)
    assert open_data("emoji-large").images.shape == (2, 64, 64, 3)  # drawn at the size that is asked for
    assert open_data("emoji-large", size=100).images.shape == (2, 100, 100, 3)
    assert open_data("fluent-3d", size=16).images.shape == (2, 16, 16, 3)
    colour = open_data("fashion-mnist", mode="RGB", size=12).images
    assert colour.shape == (2, 12, 12, 3)
    assert (colour[..., :1] == colour).all()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cifar", "Did you mean 'cifar10'"),
        ("fluent3d", "Did you mean 'fluent-3d'"),
        ("fashion_mnist", "Did you mean 'fashion-mnist'"),
        ("./absent", "no such file or folder"),
        ("photos/absent", "no such file or folder"),
        ("absent.safetensors", "no such file or folder"),
    ],
)
def test_unknown_names(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_data(spec)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("size", "mode"), [(0, "RGB"), (8, "CMYK")])
def test_wrong_options(size: int, mode: str) -> None:
    with pytest.raises(InputError, match="are needed"):
        open_data("cifar10", size=size, mode=mode)


def test_what_is_left_out_is_said(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(9):
        Image.new("RGB", (9, 9)).save(here / "photos" / f"{i}.png")
    (here / "photos" / "torn.png").touch()
    with caplog.at_level(logging.WARNING):
        assert len(open_data("photos")) == 10
    assert "torn.png" in caplog.text


def test_names() -> None:
    fetched = ["cifar10", "cifar10/test", "fashion-mnist", "fashion-mnist/test", "mnist", "mnist/test"]
    assert source_names() == ["emoji", *fetched, "fluent-3d", "emoji-large"]
