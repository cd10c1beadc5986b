import json

import pytest

from factory import network, spec
from measuring import dataset, extractor
from sfumato.cli.compare import Setting
from sfumato.cli.main import main
from sfumato.data.pack import write_pack
from sfumato.generation.guidance import Guidance
from sfumato.generation.request import Request
from sfumato.models.folder import save_folder


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def squares(tmp_path, monkeypatch):
    """A tiny model and another, both of a file of squares; that file; and an extractor that is quick."""
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sfumato.evaluation.extractors.open.open_extractor", lambda spec, device: extractor())
    data = dataset()
    write_pack(data, tmp_path / "squares.safetensors")
    for name, factor in (("m", 1.0), ("n", 0.5)):
        own = spec(name=name, data={"name": data.name, "fingerprint": data.fingerprint})
        weights = {key: factor * value for key, value in network(own).state_dict().items()}
        save_folder(tmp_path / name, own, weights, "average")
    return tmp_path / "m", tmp_path / "n", tmp_path / "squares.safetensors"


def test_two_settings_side_by_side_in_a_table_a_file_and_a_page(squares, tmp_path, capsys):
    model, _, data = squares
    words = ("compare", model, "--data", data, "--n", 20, "--draws", 40, "--seed", 7, "--out", tmp_path / "c")
    assert run(*words, "--a.steps", 2, "--b.steps", 3, "--b.guidance-scale", 2) == 0
    said = capsys.readouterr().out
    for fact in ("A - B", "2 steps (2 network calls)", "3 steps (3 network calls)", "noise", "comparison.json"):
        assert fact in said
    facts = json.loads((tmp_path / "c" / "comparison.json").read_text())
    fd = facts["differences"][0]
    assert fd["name"] == "FD-Toy"
    assert fd["difference"]["value"] == pytest.approx(fd["a"]["value"] - fd["b"]["value"])
    ways = [fd[f"method_{side}"]["making"] for side in "ab"]
    assert [(way["steps"], way["guidance_scale"], way["first_seed"], way["n"]) for way in ways] == [
        (2, 1.0, 7, 20),
        (3, 2.0, 7, 20),
    ]
    assert fd["verdict"] in said
    page = (tmp_path / "c" / "index.html").read_text()
    assert "seeds 7 to 26" in page
    assert run(*words, "--a.steps", 4, "--b.steps", 3, "--b.guidance-scale", 2) == 2
    assert "steps: 2 there, 4 asked for" in capsys.readouterr().err


def test_two_models_and_it_goes_on_where_it_was_stopped(squares, tmp_path, monkeypatch, capsys):
    model, other, data = squares
    words = ("compare", model, other, "--data", data, "--n", 20, "--draws", 40, "--a.steps", 2, "--b.steps", 2)

    def stopped(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sfumato.evaluation.compare.features_of", stopped)
        assert run(*words, "--out", tmp_path / "c") == 130
    first = (tmp_path / "c" / "a" / "0000000.safetensors").stat()
    assert run(*words, "--out", tmp_path / "c") == 0
    assert (tmp_path / "c" / "a" / "0000000.safetensors").stat().st_mtime_ns == first.st_mtime_ns
    facts = json.loads((tmp_path / "c" / "comparison.json").read_text())
    fd = facts["differences"][0]
    assert [fd[f"method_{side}"]["making"]["model"] for side in "ab"] == ["m", "n"]
    assert "m and n" in (tmp_path / "c" / "index.html").read_text()


def test_a_setting_is_a_request():
    assert Setting().request() == Request()
    full = Setting(5, "ddim", "trailing", 3.0, (0.2, 0.8), 0.5, 99.5, ("eta=0.5",))
    assert full.request() == Request(
        steps=5,
        solver="ddim",
        spacing="trailing",
        guidance_scale=3.0,
        options=(("eta", 0.5),),
        guidance=Guidance(interval=(0.2, 0.8), rescale=0.5),
        dynamic_threshold=99.5,
    )


def test_mistakes_exit_with_2_and_write_nothing(squares, tmp_path, capsys):
    model, other, data = squares
    for words, message in [
        ((model, "--data", data), "nothing to compare"),
        ((model, "nowhere", "--data", data), "no model 'nowhere'"),
        ((model, other), "--data"),
        ((model, other, "--data", data, "--n", 5), "20 pictures on each side at least"),
        ((model, other, "--data", data, "--seed", -1), "a seed is a whole number"),
        ((model, other, "--data", data, "--batch", 0), "batch must be at least 1"),
        ((model, "--data", data, "--a.option", "eta"), "write name=value"),
        ((model, "--data", data, "--a.steps", 0), "steps must be a whole number"),
        ((model, "--data", data, "--b.solver", "dimm"), "Did you mean 'ddim'"),
        ((model, "--data", data, "--b.guidance-interval", 0.8, 0.2), "interval"),
        ((model, "--data", data, "--b.dynamic-threshold", "nan"), "percentile"),
    ]:
        assert run("compare", *words, "--out", tmp_path / "o") == 2, message
        assert message in capsys.readouterr().err
        assert not list((tmp_path / "o").rglob("*.safetensors"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.tex").write_text("")
    assert run("compare", model, other, "--data", data, "--out", tmp_path / "thesis") == 2
    assert "holds something else (one.tex" in capsys.readouterr().err
