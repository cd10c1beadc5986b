import json

import numpy as np
import pytest
from PIL import Image

import sfumato as sf
from autoencoders import codec
from factory import pictures
from sfumato.cli.main import main
from sfumato.data.dataset import Dataset
from sfumato.data.pack import write_pack
from sfumato.evaluation import reconstruction
from sfumato.models.autoencoder import save_autoencoder_folder
from sfumato.training import autoencoder_folder


@pytest.fixture(autouse=True)
def _without_features(monkeypatch):
    for module in (reconstruction, autoencoder_folder):
        monkeypatch.setattr(module, "installed_features", lambda device: None)


def run(*words):
    return main([str(word) for word in words])


def train_words(data, out, *more):
    words = ["train-autoencoder", "--data", data, "--out", out, "--size", 16, "--pictures", 8, "--batch", 4]
    words += ["--network.channels", 8, "--network.groups", 4, "--network.multipliers", 1, 2, "--held-out", 0.25]
    return [*words, "--network.blocks", 1, "--device", "cpu", "--threads", 1, "--sample-every", 0, *more]


def test_train_resume_and_reconstruct(tmp_path, capsys):
    data, out = pictures(tmp_path / "p", side=16), tmp_path / "run"
    assert run(*train_words(data, out)) == 0
    said = capsys.readouterr().out
    assert "| kept back | 3 |" in said
    assert f"autoencoder: {out / 'model'}" in said
    assert run("train-autoencoder", "--out", out, "--resume", "--pictures", 12) == 0  # all else from the run's folder
    assert sf.load_autoencoder(out).spec.training["pictures"] == 12
    capsys.readouterr()

    made = tmp_path / "made"
    assert run("reconstruct", out, "--data", data, "--out", made) == 0
    said = capsys.readouterr().out
    assert "| kept back | 3 |" in said
    assert "| learned from | 9 |" in said
    report = json.loads((made / "report.json").read_text())
    assert [r["pictures"] for r in report["reports"]] == ["kept back", "learned from"]
    stored = sf.load_autoencoder(out).spec.reconstruction[0]
    assert report["reports"][0]["psnr"] == pytest.approx(stored.psnr)
    assert report["fingerprint"] == sf.load_autoencoder(out).spec.data["fingerprint"]
    assert np.asarray(Image.open(made / "pairs.png")).shape == (2 * 18 + 2, 3 * 18 + 2, 3)


def test_reconstructs_other_pictures_of_another_size_in_tiles(tmp_path, capsys):
    save_autoencoder_folder(tmp_path / "ae", codec().spec, codec().network.state_dict())
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    write_pack(Dataset("noise", images, np.zeros((3, 0), np.int64)), tmp_path / "noise.safetensors")
    words = ("reconstruct", tmp_path / "ae", "--data", tmp_path / "noise.safetensors", "--out", tmp_path / "made")
    assert run(*words, "--size", 40, "--tile", 8, "--n", 2) == 0
    assert "| given | 2 |" in capsys.readouterr().out
    report = json.loads((tmp_path / "made" / "report.json").read_text())
    assert (report["tile"], report["data"], report["reports"][0]["fd"]) == (8, "noise", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n", "0"], "n must be at least 1"),
        (["--size", "15"], "a height of 15 does not fit this autoencoder"),
        (["--tile", "1"], "tiles of 1 cannot overlap by 0"),
        (["--device", "warp"], "device 'warp' cannot be used"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(tmp_path, capsys, words, message):
    save_autoencoder_folder(tmp_path / "ae", codec().spec, codec().network.state_dict())
    out = tmp_path / "made"
    data = pictures(tmp_path / "p", count=2, side=16)
    assert run("reconstruct", tmp_path / "ae", "--data", data, "--out", out, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(out.glob("*"))


def test_no_such_autoencoder(tmp_path, capsys):
    assert run("reconstruct", tmp_path / "no", "--data", "emoji") == 2
    assert "To make one: sfumato train-autoencoder" in capsys.readouterr().err
