"""`sfumato data …`: what the verbs print, and how they fail."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from sfumato.cli.data import Check, Get, List, Pack
from sfumato.data import sources
from sfumato.data.dataset import Dataset
from sfumato.data.pack import verify_pack
from sfumato.errors import InputError, SfumatoError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, colour in (("cats", "red"), ("dogs", "blue")):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (40, 50), colour).save(folder / name / "a.png")
    return folder


def test_check_verifies_a_pack(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.safetensors"
    Pack(str(photos), file, size="8").run()
    Check(str(file)).run()
    assert "whole, 2 pictures" in capsys.readouterr().out
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError):
        Check(str(file)).run()


def test_check(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Check(str(photos)).run()
    assert "2 usable pictures" in capsys.readouterr().out
    (photos / "torn.png").touch()
    with pytest.raises(SfumatoError) as caught:
        Check(str(photos), workers=2).run()
    assert caught.value.exit_code == 1
    assert "torn.png" in capsys.readouterr().out


def test_pack(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "photos.safetensors"
    Pack(str(photos), out, size="16").run()
    assert f"{out}: 2 pictures of 16x16, RGB" in capsys.readouterr().out
    assert verify_pack(out).kinds == {"class": ("cats", "dogs")}
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        Pack(str(photos), tmp_path / "photos.zip").run()


def test_get(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stand_in(split: str, files: Path | None = None) -> Dataset:
        images = np.zeros((3, 4, 4, 3), np.uint8)
        return Dataset(f"cifar10/{split}", images, np.zeros((3, 0), np.int64), licence=f"from {files}")

    monkeypatch.setitem(sources.FETCHED, "cifar10", stand_in)
    Get("cifar10/test", files=Path("x")).run()
    printed = capsys.readouterr().out
    assert "cifar10/test: 3 pictures, verified" in printed
    assert "from x" in printed
    Get("emoji").run()
    assert "nothing to get" in capsys.readouterr().out
    with pytest.raises(InputError, match="Did you mean 'cifar10'"):
        Get("cifar").run()


def test_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Dataset("emoji", np.zeros((5, 32, 32, 3), np.uint8), np.zeros((5, 0), np.int64), licence="Apache-2.0")
    stand_in = types.ModuleType("sfumato.data.emoji")
    stand_in.emoji = lambda: shipped  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sfumato.data.emoji", stand_in)
    List().run()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == sources.source_names()
    assert lines[0][1:] == ["5", "32x32", "RGB", "Apache-2.0"]
    assert lines[3][1:] == ["60,000", "28x28", "grey", "MIT"]


def test_command_line(photos: Path) -> None:
    assert tyro.cli(Check, args=[str(photos), "--workers", "2"]) == Check(str(photos), 2)
    out = Path("x.safetensors")
    assert tyro.cli(Pack, args=["emoji/food", "--out", str(out), "--size", "64"]) == Pack("emoji/food", out, "64")
    assert tyro.cli(Get, args=["cifar10", "--files", "own"]) == Get("cifar10", Path("own"))


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, sfumato.cli.data; print([m for m in ('numpy', 'torch', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
