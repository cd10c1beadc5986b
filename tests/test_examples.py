"""The examples run, and write their picture: with far too little training, to be quick."""

import runpy
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("swiss_roll", {"steps": 20, "count": 50, "side": 8}),
        ("binary_sequence", {"steps": 20, "count": 5}),
        ("four_greys", {"steps": 3, "count": 2}),
    ],
)
def test_it_runs(name, small, tmp_path, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](str(tmp_path / "out.png"), **small)
    with Image.open(tmp_path / "out.png") as picture:
        assert min(picture.size) > 500
    assert "bits" in capsys.readouterr().out
