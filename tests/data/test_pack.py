"""Packs: what is written is read back, mapped; what is no sound pack is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from sfumato.data.dataset import Dataset
from sfumato.data.pack import FORMAT, read_pack, verify_pack, write_pack
from sfumato.errors import InputError


def example(channels: int = 3) -> Dataset:
    random = np.random.default_rng(0)
    return Dataset(
        name="example",
        images=random.integers(0, 256, (7, 4, 5, channels), dtype=np.uint8),
        labels=random.integers(-1, 2, (7, 2)),
        kinds={"style": ("ink", "Öl"), "class": ("a", "b")},
        captions=tuple(f'caption "{i}" ≥' for i in range(7)),
        source="made here",
        licence="CC0",
    )


def rewrite(path: Path, change: dict[str, Any], tensors: dict[str, np.ndarray] | None = None) -> None:
    """Write the pack at `path` again, with other tensors or with changed entries in its description."""
    length = int.from_bytes(path.read_bytes()[:8], "little")
    about = json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["sfumato"])
    save_file(load_file(path) | (tensors or {}), path, metadata={"sfumato": json.dumps(about | change)})


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "example.safetensors"
    write_pack(example(), path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip(tmp_path: Path, channels: int) -> None:
    dataset, path = example(channels), tmp_path / "a.safetensors"
    write_pack(dataset, path)
    for read in (read_pack(path), verify_pack(path)):
        assert isinstance(read.images, np.memmap)
        assert not read.images.flags.writeable
        assert np.array_equal(read.images, dataset.images)
        assert np.array_equal(read.labels, dataset.labels)
        assert read.labels.dtype == np.int64
        assert read.fingerprint == dataset.fingerprint
        for name in ("name", "kinds", "captions", "source", "licence"):
            assert getattr(read, name) == getattr(dataset, name)
    assert list(read.kinds) == ["style", "class"]
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_without_labels_and_captions(tmp_path: Path) -> None:
    dataset = Dataset("bare", np.zeros((2, 3, 3, 1), np.uint8), np.zeros((2, 0), np.int64))
    write_pack(dataset, tmp_path / "a.safetensors")
    assert verify_pack(tmp_path / "a.safetensors").labels.shape == (2, 0)


def test_other_libraries_can_read_it(pack: Path) -> None:
    assert np.array_equal(load_file(pack)["images"], example().images)


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures"):
        write_pack(example().subset(np.arange(0)), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [0, 5, 8, 50, -1])
def test_truncated_packs_are_refused(pack: Path, cut: int) -> None:
    pack.write_bytes(pack.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"example\.safetensors: .*cut off"):
        read_pack(pack)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (b"hello, I am no pack at all", b"\2\0\0\0\0\0\0\0[]", b"\x10\0\0\0\0\0\0\0" + b"[" * 16):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.safetensors: not a pack"):
            read_pack(path)
    save_file({"images": np.zeros(3, np.uint8)}, path)
    with pytest.raises(InputError, match="not a pack"):
        read_pack(path)
    for absent in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_pack(absent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, "newer Sfumato"),
        ({"format": "1"}, "format version"),
        ({"captions": ["only one"]}, "1 captions for 7"),
        ({"captions": [1] * 7}, "not a pack"),
        ({"kinds": {"style": ["ink", "oil"]}}, "labels have shape"),
        ({"kinds": {"style": ["ink"], "class": ["a"]}}, "must lie in"),
        ({"kinds": []}, "not a pack"),
        ({"name": None}, "not a pack"),
    ],
)
def test_contradictory_descriptions_are_refused(pack: Path, change: dict[str, Any], message: str) -> None:
    rewrite(pack, change)
    with pytest.raises(InputError, match=rf"example\.safetensors: .*{message}"):
        read_pack(pack)


@pytest.mark.parametrize(
    "tensors",
    [
        {"images": np.zeros((7, 4, 5), np.uint8)},
        {"images": np.zeros((6, 4, 5, 3), np.uint8)},
        {"images": np.zeros((7, 4, 5, 3), np.float32)},
        {"labels": np.zeros(7, np.int64)},
        {"labels": np.zeros((7, 2), np.int32)},
    ],
)
def test_wrong_shapes_are_refused(pack: Path, tensors: dict[str, np.ndarray]) -> None:
    rewrite(pack, {}, tensors)
    with pytest.raises(InputError, match=r"example\.safetensors"):
        read_pack(pack)


def test_changed_content_is_found(pack: Path) -> None:
    content = bytearray(pack.read_bytes())
    content[-1] ^= 1  # the last picture's last value
    pack.write_bytes(content)
    assert len(read_pack(pack)) == 7
    with pytest.raises(InputError, match="pictures are not what was written"):
        verify_pack(pack)
    write_pack(example(), pack)
    rewrite(pack, {}, {"labels": np.zeros((7, 2), np.int64)})
    with pytest.raises(InputError, match="labels or class names"):
        verify_pack(pack)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 900), value=st.integers(0, 255))
def test_damaged_headers_never_crash(pack: Path, place: int, value: int) -> None:
    content = bytearray(pack.read_bytes())
    content[place] = value
    path = pack.with_name("damaged.safetensors")
    path.write_bytes(content)
    try:
        assert verify_pack(path).images.shape == (7, 4, 5, 3)
    except InputError:
        return
