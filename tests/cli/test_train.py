"""`sfumato train` and `train-autoencoder`: sizes as people write them, and what is done with the data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from factory import NETWORK
from sfumato.cli.main import main
from sfumato.cli.options import read_options
from sfumato.cli.train import Train
from sfumato.cli.train_autoencoder import TrainAutoencoder
from sfumato.errors import InputError
from sfumato.training.estimate import estimate

GIVEN = ("--data", "x", "--out", "y")


@pytest.mark.parametrize("kind", [Train, TrainAutoencoder])
@pytest.mark.parametrize(
    ("words", "size", "shape"), [("64", 64, (64, 64)), ("48x32", "48x32", (32, 48)), ("64x64", 64, (64, 64))]
)
def test_a_size_is_a_side_or_width_and_height(tmp_path: Path, kind: type[Train], words: str, size, shape) -> None:
    found = read_options(kind, "sfumato", (*GIVEN, "--size", words))
    assert (found.size, found.picture_size) == (size, shape)
    file = tmp_path / "f.toml"
    for written in (size, words):
        file.write_text(f"data = 'x'\nout = 'y'\nsize = {json.dumps(written)}\n")
        assert read_options(kind, "sfumato", ("--config", str(file))) == found


@pytest.mark.parametrize("value", ["48 x 32", "axb", "-8", "8.5"])
def test_what_is_no_size_is_told(capsys: pytest.CaptureFixture[str], value: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", *GIVEN, f"--size={value}"])
    assert caught.value.code == 2
    assert f"size '{value}': write WIDTHxHEIGHT" in capsys.readouterr().err


def test_a_file_of_options_says_which_kinds_of_size_there_are(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text("data = 'x'\nout = 'y'\nsize = 8.5\n")
    with pytest.raises(InputError, match=r"size must be of type int \| str, not 8\.5"):
        read_options(Train, "sfumato", ("--config", str(tmp_path / "f.toml")))


def test_a_dry_run_counts_the_pixels_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without attention work is in the pixels: from 16x8 to 16x16 it grows twice as much as from 8x8 to 16x8."""
    monkeypatch.setattr("sfumato.training.estimate.BURST", 0.0)
    plain = replace(NETWORK, attention_levels=(), mid_attention=False)
    made = Train(data="", out=Path(), network=plain, batch=2, device="cpu", threads=1)
    small, wide, large = (estimate(replace(made, size=size)) for size in (8, "16x8", 16))
    assert large.forward_flops - wide.forward_flops == 2 * (wide.forward_flops - small.forward_flops) > 0
