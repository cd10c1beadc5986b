import json

import numpy as np
import pytest
from PIL import Image

from factory import pictures, texts_of
from sfumato import solvers
from sfumato.cli.main import main
from sfumato.generation.model import load


def run(*words):
    return main([str(word) for word in words])


def test_lists_every_solver_with_order_calls_and_noise(capsys):
    assert run("solvers") == 0
    listed = capsys.readouterr().out
    assert run("solvers", "list") == 0
    assert capsys.readouterr().out == listed
    lines = {line.split()[0]: line.split() for line in listed.splitlines() if line and not line.startswith(" ")}
    for name, solver in solvers.SOLVERS.items():
        assert lines[name][1] == (str(solver.order) if solver.order else "-")
    assert lines["heun"][2:4] == ["2", "no"]
    assert lines["ddpm"][3] == "yes"
    assert "variant=bh2" in listed


def test_shows_the_exact_times_and_weights(capsys, tmp_path):
    assert run("solvers", "show", "unipc-2", "--steps", 5, "--schedule", "linear", "--zero-terminal-snr", "False") == 0
    printed = capsys.readouterr().out
    table = solvers.get("unipc-2", load_schedule("linear"), 5)
    assert printed == f"{table}\n"
    assert run("solvers", "show", "ddim", "--times", 1, 0.5, 0, "--option", "eta=0.5", "--json") == 0
    again = solvers.Table.from_json(capsys.readouterr().out)
    assert again.times.tolist() == [1, 0.5, 0]
    assert again.stochastic


def load_schedule(name):
    from sfumato.diffusion.config import ScheduleConfig

    return ScheduleConfig(name, zero_terminal_snr=False).build()


def test_draws_a_table(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pip install 'sfumato[plot]'")
    for name in ("unipc-3", "edm", "plms"):
        assert run("solvers", "show", name, "--steps", 6, "--plot", tmp_path / f"{name}.png") == 0
        picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        assert picture.std() > 10  # something is drawn
    assert run("solvers", "show", "ddim", "--plot", tmp_path / "a.gif") == 2
    assert "PNG" in capsys.readouterr().err


def test_drawing_without_matplotlib_says_what_to_install(tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("solvers", "show", "ddim", "--plot", tmp_path / "a.png") == 2
    assert "sfumato[plot]" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dimm"], "Did you mean"),
        (["tuned"], "name it with --model"),
        (["ddim", "--steps", 0], "from 1 to 1000"),
        (["ddim", "--times", 1, 0.2, 0.3], "fall strictly"),
        (["ddim", "--model", "emojy"], "Did you mean 'emoji'"),
        (["ddim", "--model", "emoji", "--schedule", "linear"], "has its own schedule"),
        (["ddim", "--option", "eta=0", "eta=1"], "given twice"),
    ],
)
def test_mistakes_exit_with_2(capsys, words, message):
    assert run("solvers", "show", *words) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def coarse(monkeypatch):
    """Places of calls are moved by eight fine steps only: what comes of more is for tests/tuning."""
    monkeypatch.setattr("sfumato.tuning.fit.STRIDES", (8,))


@pytest.mark.usefixtures("coarse")
def test_tune_sample_show_and_export(model, tmp_path, capsys):
    assert run("tune", model, "--steps", 2, 3, "--pictures", 3) == 0
    printed = capsys.readouterr().out
    assert "tables for 2, 3 steps" in printed
    facts = json.loads((model / "tuned.json").read_text())
    assert facts["weights_sha256"] == json.loads((model / "model.json").read_text())["weights"]["sha256"]
    assert [entry["table"]["steps"] for entry in facts["tables"]] == [2, 3]
    evidence = facts["tables"][0]["evidence"]
    assert evidence["seeds"] == [1_000_003, 1_000_005]
    assert evidence["rmse"] > 0
    assert evidence["best_hand_made"]["solver"] in solvers.names()

    assert run("tune", model, "--steps", 4, "--pictures", 2) == 0  # the others stay
    assert sorted(load(model).tuned) == [2, 3, 4]
    capsys.readouterr()
    assert run("sample", model, "--n", 2, "--solver", "tuned", "--steps", 3, "--out", tmp_path / "o") == 0
    assert "tuned, 3 steps, 3 network calls, spacing tuned" in capsys.readouterr().out
    made = json.loads(texts_of(tmp_path / "o" / "0000.png")["sfumato"])
    assert solvers.Table.from_json(json.dumps(made["solver"])) == load(model).tuned[3].table
    assert run("sample", model, "--solver", "tuned", "--steps", 7, "--out", tmp_path / "p") == 2
    assert "tuned for 2, 3, 4 steps, not for 7" in capsys.readouterr().err
    assert run("sample", model, "--solver", "tuned", "--steps", 3, "--spacing", "karras", "--out", tmp_path / "p") == 2
    assert "own times" in capsys.readouterr().err
    assert run("solvers", "show", "tuned", "--model", model, "--steps", 4) == 0
    assert "tuned: 4 steps" in capsys.readouterr().out

    assert run("export", model, "--out", tmp_path / "same", "--solver", "tuned", "--steps", 3) == 0
    assert run("sample", tmp_path / "same", "--n", 1, "--out", tmp_path / "q") == 0
    assert run("export", model, "--out", tmp_path / "same", "--name", "other") == 0
    assert sorted(load(tmp_path / "same").tuned) == [2, 3, 4]
    assert run("export", model, "--out", tmp_path / "same", "--dtype", "float16") == 0
    assert "sfumato tune" in capsys.readouterr().out
    assert not load(tmp_path / "same").tuned


@pytest.mark.usefixtures("coarse")
def test_tuned_tables_are_used_at_the_scale_they_were_fitted_for_or_that_is_said(model, tmp_path, caplog):
    assert run("tune", model, "--steps", 2, "--pictures", 2, "--guidance-scale", 1.5) == 0
    tuned = load(model)
    with caplog.at_level("INFO"):
        tuned.sample(1, solver="tuned", steps=2, label="food", guidance_scale=1.5)
    assert not caplog.records
    tuned.sample(1, solver="tuned", steps=2, label="food", guidance_scale=3.0)
    assert "guidance scale 1.5" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"), [(["--steps", 99], "1 to 60 steps"), (["--pictures", 0], "at least one")]
)
def test_tune_refuses_what_cannot_be(model, capsys, words, message):
    assert run("tune", model, "--pictures", 1, *words) == 2
    assert message in capsys.readouterr().err
    assert not (model / "tuned.json").exists()


def test_interpolate(model, tmp_path, capsys):
    folder = pictures(tmp_path / "photos", count=2)
    a, b = sorted(folder.rglob("*.png"))
    assert run("interpolate", model, a, b, "--n", 3, "--steps", 4, "--out", tmp_path / "o") == 0
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["0000.png", "0001.png", "0002.png", "grid.png"]
    assert run("interpolate", model, a, tmp_path / "none.png", "--out", tmp_path / "q") == 2
    assert "none.png" in capsys.readouterr().err
    assert run("interpolate", model, a, b, "--solver", "ddpm", "--out", tmp_path / "q") == 2
    assert "draws noise" in capsys.readouterr().err
