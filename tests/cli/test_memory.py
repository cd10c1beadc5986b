"""What the command line offers for less memory: `info --memory`, and options of `sample`."""

import numpy as np
import pytest
from PIL import Image

from sfumato.cli.main import main


def run(*words):
    return main([str(word) for word in words])


def grid(folder):
    return np.asarray(Image.open(folder / "grid.png")).astype(int)


def test_a_prediction_without_the_weights(model, capsys, monkeypatch):
    monkeypatch.setattr("sfumato.networks.unet.with_tensors", None)  # nothing is loaded
    assert run("info", model, "--memory", "16x24", "--batch", 2) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "tiny, 16x24, 2 at once, not guided: predicted peak on cpu in GiB"
    assert [row.split("|")[1].strip() for row in said[4:8]] == [
        "float32",
        "bfloat16 or float16",
        "offload cpu",
        "offload disk",
    ]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--memory", "8x8x8"), "--memory '8x8x8': write WIDTHxHEIGHT"),
        (("--memory", "9"), "a height of 9 does not fit this network"),
        (("--memory", "8", "--dtype", "half"), "no number type 'half' for weights"),
        (("--memory", "8", "--batch", "0"), "batch must be at least 1"),
    ],
)
def test_mistakes(model, capsys, words, what):
    assert run("info", model, *words) == 2
    assert what in capsys.readouterr().err


def test_a_prediction_needs_a_model(capsys):
    assert run("info", "--memory", "8") == 2
    assert "--memory needs a model" in capsys.readouterr().err


def test_ways_to_sample_with_less_memory(model, tmp_path):
    asked = ("--n", 2, "--steps", 2, "--label", "food", "--guidance", 2)
    ways = {
        "plain": (),
        "same": ("--offload", "disk", "--one-at-a-time", "--most-scores", 50),
        "half": ("--dtype", "bfloat16"),
    }
    for name, words in ways.items():
        assert run("sample", model, *asked, *words, "--out", tmp_path / name) == 0
    plain, same, half = (grid(tmp_path / name) for name in ways)
    assert np.abs(plain - same).max() <= 1
    assert np.abs(plain - half).max() > 0
    assert np.abs(plain - half).mean() < 4
