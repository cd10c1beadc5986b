"""Several averages of one run, and models made of them afterwards."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sfumato as sf
from factory import QUIET, config, pictures
from sfumato.cli.main import main
from sfumato.errors import InputError
from sfumato.training.averages import Averages
from sfumato.training.averages_config import AveragesConfig
from sfumato.training.loop import train
from sfumato.training.power import exponent

KEPT = AveragesConfig(halflives=(8, 64), lengths=(0.05, 0.1), every=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def history(data, tmp_path_factory):
    """A run of 40 pictures in steps of 4, and its weights after every step."""
    out, weights = tmp_path_factory.mktemp("runs") / "run", []
    honest = Averages.update

    def noting(self, network, count, seen):
        honest(self, network, count, seen)
        weights.append({name: value.clone() for name, value in network.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Averages, "update", noting)
        train(config(data, out, averages=KEPT, ema_rampup=1e9), QUIET)
    return out, weights


def test_each_is_its_weighted_sum(history):
    """Half-lives: keep = ½^(4/h) from the first weights; powers: ∫ of the density over each step, nothing of the
    first."""
    out, weights = history
    stored = load_file(sorted((out / "checkpoints").glob("*.safetensors"))[-1])
    name = "middle.0.block.conv1.weight"
    theta = torch.stack([each[name] for each in weights]).double()
    for length in (0.05, 0.1):
        ends = np.arange(1, 11) / 10
        shares = ends ** (exponent(length) + 1) - (ends - 0.1) ** (exponent(length) + 1)
        expected = (torch.from_numpy(shares)[:, None, None, None, None] * theta).sum(0)
        torch.testing.assert_close(stored[f"average {length}/{name}"].double(), expected, rtol=1e-5, atol=1e-7)
    first = stored[f"average/{name}"]  # of half-life 16
    initial = None
    for halflife, found in (
        (8, stored[f"average halflife 8/{name}"]),
        (16, first),
        (64, stored[f"average halflife 64/{name}"]),
    ):
        keep = 0.5 ** (4 / halflife)
        shares = (1 - keep) * keep ** np.arange(9, -1, -1)
        rest = (found.double() - (torch.from_numpy(shares)[:, None, None, None, None] * theta).sum(0)) / keep**10
        initial = rest if initial is None else initial
        torch.testing.assert_close(rest, initial, rtol=1e-3, atol=1e-5)  # what is left is the same first weights


def test_they_do_not_change_the_training(history, data, tmp_path):
    out, _ = history
    train(config(data, tmp_path / "plain", ema_rampup=1e9), QUIET)
    mine, plain = ((folder / "model" / "weights.safetensors").read_bytes() for folder in (out, tmp_path / "plain"))
    assert mine == plain


def test_a_kept_length_is_given_back_and_another_is_between(history, tmp_path, capsys):
    out, _ = history
    assert sorted(path.name for path in (out / "snapshots").iterdir()) == [
        f"{n:012d}.safetensors" for n in range(8, 41, 8)
    ]
    snapshot = load_file(out / "snapshots" / "000000000024.safetensors")
    assert main(["average", str(out), "--length", "0.1", "--at", "24", "--out", str(tmp_path / "same")]) == 0
    assert "off by 0.00%" in capsys.readouterr().out
    for name, value in sf.load(tmp_path / "same").network.state_dict().items():
        torch.testing.assert_close(value, snapshot[f"0.1/{name}"], rtol=1e-5, atol=1e-6)
    assert main(["average", str(out), "--length", "0.08"]) == 0
    model = sf.load(out / "averages" / "length-0.08-at-40")
    assert model.spec.training["average_length"] == 0.08
    assert model.spec.training["pictures"] == 40
    assert "ema_halflife" not in model.spec.training
    assert model.sample(2, label="red").array.shape == (2, 8, 8, 3)


def test_a_further_halflife_becomes_a_model(history, capsys):
    out, _ = history
    assert main(["average", str(out), "--halflife", "8"]) == 0
    stored = load_file(sorted((out / "checkpoints").glob("*.safetensors"))[-1])
    model = sf.load(out / "averages" / "halflife-8-at-40")
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, stored[f"average halflife 8/{name}"]), name
    assert "half-life 8 at 40 pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "0.5"], "relative length"),
        (["--length", "nan"], "relative length"),
        (["--length", "0.1", "--at", "4"], "from 8 to 40 pictures"),
        (["--length", "0.1", "--at", "41"], "from 8 to 40 pictures"),
        (["--halflife", "9"], "it keeps 8, 64"),
        ([], "either --length"),
        (["--length", "0.1", "--halflife", "8"], "either --length"),
        (["--halflife", "8", "--at", "8"], "either --length"),
    ],
)
def test_what_cannot_be_made_is_told(history, words, message, capsys):
    assert main(["average", str(history[0]), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_snapshots_and_a_damaged_one_are_told(history, data, tmp_path, capsys):
    train(config(data, tmp_path / "plain", pictures=4), QUIET)
    assert main(["average", str(tmp_path / "plain"), "--length", "0.1"]) == 2
    assert "--averages.lengths" in capsys.readouterr().err
    (tmp_path / "plain" / "snapshots").mkdir()
    (tmp_path / "plain" / "snapshots" / "000000000004.safetensors").write_bytes(b"torn")
    assert main(["average", str(tmp_path / "plain"), "--length", "0.1"]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"lengths": (0.1,)}, "two or more"),
        ({"lengths": (0.1, 0.1)}, "differ"),
        ({"lengths": (0.1, 0.3)}, "relative length"),
        ({"halflives": (0,)}, "from 1"),
        ({"halflives": (5, 5)}, "differ"),
        ({"every": 0}, "at least 1"),
    ],
)
def test_impossible_settings(asked, message):
    with pytest.raises(InputError, match=message):
        AveragesConfig(**asked)
