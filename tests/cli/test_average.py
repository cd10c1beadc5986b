"""`sfumato average` on a run that was written by hand. On trained ones: tests/training/test_averages.py."""

import pytest
from safetensors.torch import save_file

import sfumato as sf
from factory import network, spec
from sfumato.cli.main import main
from sfumato.models.folder import save_folder


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    """Of 80 pictures: two snapshots of two lengths, a checkpoint with an average of half-life 8, and a model."""
    own = spec(training={"pictures": 80, "ema_halflife": 16})
    weights = network(own).state_dict()
    save_folder(tmp_path / "r" / "model", own, weights, "average")
    for name in ("snapshots", "checkpoints"):
        (tmp_path / "r" / name).mkdir()
    for seen in (40, 80):
        kept = {
            f"{length}/{name}": (value * seen).contiguous() for length in (0.05, 0.1) for name, value in weights.items()
        }
        save_file(kept, tmp_path / "r" / "snapshots" / f"{seen:012d}.safetensors")
    kept = {f"average halflife 8/{name}": (value * 3).contiguous() for name, value in weights.items()}
    save_file(kept, tmp_path / "r" / "checkpoints" / "000000000080.safetensors")
    return tmp_path / "r"


def test_a_length(folder, capsys):
    assert run("average", folder, "--length", 0.1, "--at", 40) == 0
    said = capsys.readouterr().out
    assert "relative length 0.1 at 40 pictures" in said
    assert "off by 0.00%" in said
    made = folder / "averages" / "length-0.1-at-40"
    assert f"model: {made}" in said
    assert sf.load(made).spec.training == {"pictures": 40, "average_length": 0.1}
    assert run("average", folder, "--length", 0.1) == 0
    assert (folder / "averages" / "length-0.1-at-80").is_dir()


def test_a_half_life_into_a_folder_of_ones_own(folder, tmp_path, capsys):
    assert run("average", folder, "--halflife", 8, "--out", tmp_path / "mine") == 0
    assert "half-life 8 at 80 pictures" in capsys.readouterr().out
    assert sf.load(tmp_path / "mine").spec.training == {"pictures": 80, "ema_halflife": 8}
    assert not (folder / "averages").exists()


def test_mistakes_exit_with_2_and_write_nothing(folder, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.tex").write_text("")
    for words, message in [
        ((folder,), "either --length"),
        ((folder, "--length", 0.1, "--halflife", 8), "either --length"),
        ((folder, "--halflife", 8, "--at", 40), "either --length"),
        ((folder, "--length", "nan"), "relative length"),
        ((folder, "--length", 0.1, "--at", 39), "from 40 to 80 pictures"),
        ((folder, "--halflife", 0), "it keeps 8"),
        ((folder, "--halflife", 8, "--out", tmp_path / "thesis"), "thesis"),
        ((tmp_path / "nowhere", "--length", 0.1), "has no snapshots"),
        ((tmp_path / "nowhere", "--halflife", 8), "has no checkpoint"),
        ((folder / "model", "--length", 0.1), "has no snapshots"),
    ]:
        assert run("average", *words) == 2, message
        assert message in capsys.readouterr().err
    (folder / "snapshots" / "000000000080.safetensors").write_bytes(b"torn")
    assert run("average", folder, "--length", 0.1) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "model", "snapshots"]
