import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from factory import NETWORK, pictures
from sfumato.cli.main import VERBS, main
from sfumato.generation.model import Model


def run(*words):
    return main([str(word) for word in words])


def test_help_needs_no_torch_nor_numpy():
    code = """if True:
        import sys
        from sfumato.cli.main import main

        for verb in sys.argv[1:]:
            try:
                assert main([*verb.split(), "--help"]) == 0
            except SystemExit as done:
                assert not done.code, verb
            heavy = {"torch", "numpy", "PIL", "safetensors"} & set(sys.modules)
            assert not heavy, (verb, heavy)
    """
    verbs = ["", *VERBS, "data", "data pack", "solvers show", "solvers list"]
    done = subprocess.run([sys.executable, "-c", code, *verbs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().count("usage") >= len(verbs)


def test_importing_the_package_imports_no_torch():
    code = "import sys, sfumato; assert 'torch' not in sys.modules; sfumato.UNet; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    import sfumato as sf

    for name in sf.__all__:
        assert getattr(sf, name) is not None
    assert sf.solvers.names()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sf.nothing  # noqa: B018


def test_version_overview_and_unknown_verbs(capsys):
    assert run("--version") == 0
    assert run() == 2
    assert run("--help") == 0
    assert "evaluate" in capsys.readouterr().out
    assert run("trian") == 2
    assert "Did you mean 'train'" in capsys.readouterr().err
    assert run("data", "chek") == 2
    assert "Did you mean 'check'" in capsys.readouterr().err


def test_sample_writes_pictures_a_grid_and_a_strip_and_says_how(model, tmp_path, capsys):
    out = tmp_path / "o"
    assert (
        run("sample", model, "--n", 3, "--steps", 3, "--seed", 5, "--label", "food", "--out", out, "--steps-strip") == 0
    )
    assert sorted(p.name for p in out.iterdir()) == ["0000.png", "0001.png", "0002.png", "grid.png", "steps.png"]
    said = capsys.readouterr().out
    for fact in ("3 pictures", "unipc-2", "3 steps", "3 network calls", "average weights of tiny", "seeds 5…7"):
        assert fact in said
    run("sample", model, "--n", 1, "--steps", 3, "--seed", 7, "--label", "food", "--out", tmp_path / "alone")
    together, alone = (
        np.asarray(Image.open(p)).astype(int) for p in (out / "0002.png", tmp_path / "alone" / "0000.png")
    )
    assert np.abs(together - alone).max() <= 1


def test_sample_with_options_of_the_solver(model, tmp_path, capsys):
    words = ("sample", model, "--n", 1, "--steps", 2, "--out", tmp_path / "o", "--solver")
    assert run(*words, "ddim", "--option", "eta=0.5") == 0
    assert "ddim eta=0.5" in capsys.readouterr().out
    assert run(*words, "ddpm", "--option", "variance=large", "--guidance-scale", 2) == 0
    assert "guidance scale 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "fod"], "Did you mean 'food'"),
        (["--solver", "dpmpp2m"], "Did you mean 'dpmpp-2m'"),
        (["--steps", "0"], "steps must be a whole number"),
        (["--option", "eta"], "write name=value"),
        (["--option", "eta=1"], "no option 'eta'"),
        (["--size", "5x8"], "multiple of 2"),
        (["--size", "8x8x8"], "write WIDTHxHEIGHT"),
        (["--size", "0"], "write WIDTHxHEIGHT"),
        (["--n", "0"], "number of pictures"),
        (["--device", "warp"], "device 'warp' cannot be used"),
        (["--device", "cuda:99"], "cannot be used"),
        (["--solver", "ddim", "--option", "eta=abc"], "eta lies between"),
        (["--option", "steps=3"], "steps is no option"),
        (["--solver", "tuned"], "tuned for no number of steps"),
        (["--times", "1", "0.5", "0.7", "0"], "times must fall strictly"),
        (["--times", "1", "0", "--steps", "3"], "either steps"),
        (["--times", "0.1", "1", "--solver", "ddim"], "from data to noise"),
        (["--end", "noise"], "no end 'noise'"),
        (["--solver", "dpmpp-3m", "--option", "lower_order_final=1"], "true or false"),
        (["--batch", "-5"], "batch must be at least 1"),
    ],
)
def test_mistakes_in_sample_exit_with_2_and_write_nothing(model, tmp_path, capsys, words, message):
    out = tmp_path / "o"
    assert run("sample", model, "--out", out, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(out.glob("*.png"))


def test_no_such_model(capsys):
    assert run("sample", "nowhere") == 2
    assert "neither a folder nor a shipped name" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        run("sample")
    assert exit_.value.code == 2


def train_words(data, out):
    words = ["train", "--data", data, "--out", out, "--size", 8, "--pictures", 8, "--batch", 4, "--device", "cpu"]
    for name in ("channels", "groups", "head_channels"):
        words += [f"--network.{name.replace('_', '-')}", getattr(NETWORK, name)]
    return [*words, "--network.multipliers", 1, 2, "--network.attention-levels", 1, "--network.patch", 1]


def test_train_resume_sample_info_export(tmp_path, capsys):
    """The README's road on a small folder: train, go on longer, look, export, sample."""
    data, out = pictures(tmp_path / "photos"), tmp_path / "run"
    assert run(*train_words(data, out)) == 0
    assert f"model: {out / 'model'}" in capsys.readouterr().out
    assert run("train", "--out", out, "--resume", "--pictures", 12) == 0
    assert json.loads((out / "model" / "model.json").read_text())["training"]["pictures"] == 12
    assert run("train", f"--out={out}", "--resume", "--pictures", 16, "--batch", 2) == 2
    assert "batch was 4 and now is 2" in capsys.readouterr().err
    assert run("train", f"--out={out}", "--resume") == 0  # 12 pictures is what it was last asked for
    assert run("export", out, "--out", out) == 2
    assert "which is no part of a model" in capsys.readouterr().err
    assert run("export", out, "--out", tmp_path / "half", "--dtype", "float16", "--name", "half", "--steps", 7) == 0
    assert run("info", tmp_path / "half") == 0
    assert "steps 7" in capsys.readouterr().out
    assert run("sample", tmp_path / "half", "--n", 1, "--out", tmp_path / "s") == 0
    assert "7 steps" in capsys.readouterr().out
    assert run("export", out, "--out", tmp_path / "bad", "--solver", "none") == 2


def test_train_takes_defaults_from_toml_and_flags_override(tmp_path, capsys):
    data, out, file = pictures(tmp_path / "photos"), tmp_path / "run", tmp_path / "a.toml"
    file.write_text('pictures = 4\nbatch = 2\n[network]\ndropout = 0.25\n[schedule]\nname = "linear"\n')
    words = train_words(data, out)
    del words[words.index("--pictures") : words.index("--pictures") + 2]
    assert run(*words, "--config", file) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["pictures"], config["batch"]) == (4, 4)
    assert (config["network"]["dropout"], config["schedule"]["name"]) == (0.25, "linear")
    for text, message in [
        ("pictres = 4", "Did you mean 'pictures'"),
        ("[network]\nchanels = 4", "network: there is no 'chanels'. Did you mean 'channels'"),
        ('batch = "8"', "batch must be of type int"),
        ("pictures = 8.5", "pictures must be of type int"),
        ("network = 5", "network: expected a table"),
        ('precision = "fp8"', "precision cannot be 'fp8'"),
        ("pictures = ", "is not TOML"),
    ]:
        file.write_text(text)
        assert run(*train_words(data, tmp_path / "other"), "--config", file) == 2
        assert message in capsys.readouterr().err
    assert run("train", "--config", tmp_path / "none.toml") == 2
    assert run("train", "--config") == 2


def test_info_lists_what_is_here(capsys):
    assert run("info") == 0
    said = capsys.readouterr().out
    for fact in ("sfumato 0.", "torch", "emoji", "dpmpp-2m", "heun"):
        assert fact in said


SHEETS = ("emoji", "emoji-steps", "fresh", "fresh-steps", "real", "prompts")


def test_demo_makes_its_pictures(tmp_path, capsys, monkeypatch):
    honest = Model.table
    monkeypatch.setattr(Model, "table", lambda self, request: honest(self, replace(request, steps=3)))  # to be quick
    out = tmp_path / "demo"
    assert run("demo", "--out", out, "--pictures", 64, "--data", "emoji/flags") == 0
    names = {p.name for p in out.iterdir()}
    assert names == {*(f"{name}.png" for name in SHEETS), "run"}
    said = capsys.readouterr().out
    assert said.rstrip().endswith(f"All results: {out}")
    assert "4. What the shipped text model makes of a row of prompts" in said
    assert run("demo", "--out", out, "--pictures", 32, "--data", "emoji/flags") == 0  # again, over the old one
    (out / "run" / "config.json").unlink()
    assert run("demo", "--out", out) == 2  # not over anything else


def test_ctrl_c_exits_with_130(monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.cli.main._dispatch", stop)
    assert run("info") == 130
