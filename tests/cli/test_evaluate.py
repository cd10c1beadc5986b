import json

import numpy as np
import pytest
from PIL import Image

from factory import network, spec
from sfumato.cli.main import main
from sfumato.data.emoji import emoji
from sfumato.data.pack import write_pack
from sfumato.models.folder import save_folder


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def fruit(tmp_path, monkeypatch):
    """A tiny model of pictures of 32x32, which says that it was trained on a file of food; and that file."""
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    data = emoji("food,noto").subset(np.arange(48), "fruit")
    write_pack(data, tmp_path / "fruit.safetensors")
    sized = spec(size=(32, 32), data={"name": "fruit", "fingerprint": data.fingerprint})
    save_folder(tmp_path / "m", sized, network(sized).state_dict(), "average")
    return tmp_path / "m", tmp_path / "fruit.safetensors"


def test_evaluate_prints_numbers_and_how_they_were_made_and_writes_a_page(fruit, tmp_path, capsys):
    """By the real extractor."""
    model, data = fruit
    words = ("evaluate", model, "--data", data, "--n", 20, "--steps", 2, "--draws", 40, "--out", tmp_path / "e")
    assert run(*words) == 0
    said = capsys.readouterr().out
    for fact in ("FD-EffNetLite0", "Coverage", "2 steps (2 network calls)", "seeds 0…19", "Memorisation", "index.html"):
        assert fact in said
    facts = json.loads((tmp_path / "e" / "report.json").read_text())
    fd = facts["numbers"][0]
    assert fd["value"]["value"] > fd["real"]["value"] > 0
    assert fd["method"]["features"]["name"] == "EffNetLite0"
    assert (fd["method"]["making"]["n"], fd["method"]["reference"]["n"], fd["value"]["n"]) == (20, 20, [20, 20])
    assert "<script" not in (tmp_path / "e" / "index.html").read_text()
    assert run(*words, "--steps", 3) == 2
    assert "steps: 2 there, 3 asked for" in capsys.readouterr().err


def test_mistakes_exit_with_2_and_write_nothing(fruit, tmp_path, capsys):
    model, data = fruit
    out = tmp_path / "o"
    grey = tmp_path / "empty"
    grey.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "one.png")
    for words, message in [
        (("evaluate", model), "trained on cannot be opened"),
        (("evaluate", model, "--data", data, "--n", 5), "20 pictures on each side at least"),
        (("evaluate", model, "--data", data, "--n", 49), "49 samples need 49 real pictures"),
        (("evaluate", model, "--data", data, "--draws", 3), "40 draws at least"),
        (("evaluate", model, "--data", data, "--curve", 0), "steps must be a whole number"),
        (("evaluate", model, "--data", data, "--extractor", "inceptoin"), "no extractor 'inceptoin'"),
        (("evaluate", model, "--data", data, "--size", 16), "the samples are to be"),
        (("evaluate", model, "--data", grey), "empty"),
        (("evaluate", "nowhere"), "no model 'nowhere'"),
    ]:
        assert run(*words, "--out", out) == 2
        assert message in capsys.readouterr().err
        assert not out.exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.tex").write_text("")
    assert run("evaluate", model, "--data", data, "--out", tmp_path / "thesis") == 2
    assert "holds something else (one.tex" in capsys.readouterr().err
