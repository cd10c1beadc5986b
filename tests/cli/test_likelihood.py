import json

import numpy as np
import pytest
from PIL import Image

from factory import network, spec
from known import SHORT
from sfumato.cli.main import main
from sfumato.data.dataset import Dataset
from sfumato.data.pack import write_pack
from sfumato.models.folder import save_folder


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def model(tmp_path):
    description = spec(schedule=SHORT)
    save_folder(tmp_path / "m", description, network(description).state_dict(), "average")
    return tmp_path / "m"


@pytest.fixture
def data(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    write_pack(Dataset("noise", images, np.zeros((5, 0), np.int64)), tmp_path / "noise.safetensors")
    return tmp_path / "noise.safetensors"


def test_bound_and_flow(model, data, tmp_path, capsys):
    out = tmp_path / "deep" / "bits.json"
    assert run("likelihood", model, "--data", data, "--n", 4, "--terms", 3, "--out", out) == 0
    said = capsys.readouterr().out
    facts = json.loads(out.read_text())
    assert f"{facts['bits']['value']:8.4f} ± {facts['bits']['error']:.4f}" in said
    assert (facts["method"], facts["n"], facts["pictures"], facts["calls"]) == ("bound", 4, 5, 3)
    assert facts["weights_sha256"] == json.loads((model / "model.json").read_text())["weights"]["sha256"]
    assert run("likelihood", model, "--data", data, "--n", 2, "--method", "flow", "--steps", 2, "--out", out) == 0
    facts = json.loads(out.read_text())
    assert (facts["method"], facts["steps"], facts["calls"], facts["parts"]) == ("flow", 2, 9, {})
    assert "probability-flow ODE" in capsys.readouterr().out


def test_progressive(model, data, tmp_path, capsys):
    out = tmp_path / "coding"
    assert run("likelihood", model, "--data", data, "--n", 3, "--progressive", out) == 0
    assert "RMSE" in capsys.readouterr().out
    assert len(json.loads((out / "progressive.json").read_text())["rate"]) == 11
    assert (out / "rate-distortion.svg").read_text().startswith("<?xml")
    with Image.open(out / "progressive.png") as sheet:
        assert sheet.format == "PNG"
    assert sorted(p.name for p in out.iterdir()) == ["progressive.json", "progressive.png", "rate-distortion.svg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", 9], "from 2 to 5"),
        (["--n", 2, "--terms", 99], "from 2 to 10"),
        (["--n", 2, "--method", "flow", "--terms", 5], "knows no terms"),
        (["--n", 2, "--progressive", "p", "--terms", 5], "leave out"),
        (["--n", 2, "--progressive", "p", "--method", "flow"], "leave out"),
        (["--data", "nowhere.safetensors"], "no such file"),
    ],
)
def test_mistakes(model, data, words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = words if "--data" in words else ["--data", data, *words]
    assert run("likelihood", model, *given) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p" / "progressive.json").exists()
