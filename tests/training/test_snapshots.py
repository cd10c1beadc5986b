"""Averages chosen afterwards, from snapshots and checkpoints written by hand: integrals that are known."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import sfumato as sf
from factory import network, spec
from sfumato.errors import InputError
from sfumato.models.folder import save_folder
from sfumato.models.parts import Parts
from sfumato.training.power import exponent
from sfumato.training.snapshots import average_of_halflife, average_of_length, save_average
from tiny import latent_model

POWERS = torch.tensor([0.0, 0.5, 1.0, 2.0])  # of time: what four weights do


def path_average(length, end):
    """Of weights that are τ^a after τ hundred pictures: ∫ p(τ)·τ^a dτ = (γ + 1)/(γ + 1 + a)·T^a."""
    gamma = exponent(length)
    return (gamma + 1) / (gamma + 1 + POWERS) * (end / 100) ** POWERS


@pytest.fixture
def run(tmp_path):
    """A run of 800 pictures with snapshots of two lengths after every hundred."""
    (tmp_path / "snapshots").mkdir()
    for seen in range(100, 801, 100):
        tensors = {f"{length}/w": path_average(length, seen).float() for length in (0.05, 0.1)}
        save_file(tensors, tmp_path / "snapshots" / f"{seen:012d}.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("length", "at", "within"),
    [(0.05, None, 1e-6), (0.1, 300, 1e-6), (0.07, None, 1e-3), (0.14, 600, 1e-2), (0.2, None, 2e-2)],
)
def test_are_the_integrals_that_they_stand_for(run, length, at, within):
    seen, found, off = average_of_length(run, length, at)
    assert seen == (at or 800)
    assert found["w"].dtype == torch.float32
    torch.testing.assert_close(found["w"], path_average(length, seen).float(), rtol=within, atol=0)
    assert found["w"][0].item() == pytest.approx(1, abs=1e-6)  # what stands still stays
    assert off < max(20 * within, 1e-6)


def test_the_distance_grows_where_snapshots_are_missing(run):
    offs = [average_of_length(run, 0.03, 700)[2]]
    for seen in (600, 700):
        (run / "snapshots" / f"{seen:012d}.safetensors").unlink()
        offs.append(average_of_length(run, 0.03, 700)[2])
    assert offs == sorted(offs)
    assert offs[-1] > 0.05
    assert average_of_length(run, 0.1, 450)[2] > 0.1  # at its end there is none


def test_copies_that_lie_beside_them_are_left_alone(run):
    (run / "snapshots" / "000000000800 copy.safetensors").write_bytes(b"torn")
    assert average_of_length(run, 0.1)[0] == 800


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"0.05/w": torch.ones(4), "0.1/w": torch.ones(1)}, "of another network"),
        ({"0.05/w": torch.ones(4), "0.1/v": torch.ones(4)}, "of another network"),
        ({"w": torch.ones(4)}, "no snapshot of averages: it holds 'w'"),
        ({"0.5/w": torch.ones(4)}, "no snapshot of averages: it holds '0.5'"),
        ({"nan/w": torch.ones(4)}, "no snapshot of averages: it holds 'nan'"),
    ],
)
def test_what_is_no_snapshot_of_this_run(run, tensors, message):
    save_file(tensors, run / "snapshots" / "000000000800.safetensors")
    with pytest.raises(InputError, match=message):
        average_of_length(run, 0.1)


@pytest.mark.parametrize(("length", "at"), [(0.0, None), (0.3, None), (float("nan"), None), (0.1, 99), (0.1, 801)])
def test_lengths_and_ends_that_cannot_be_had(run, length, at):
    with pytest.raises(InputError, match=r"relative length|from 100 to 800 pictures"):
        average_of_length(run, length, at)


def test_half_lives_are_of_the_newest_checkpoint(tmp_path):
    with pytest.raises(InputError, match="no checkpoint to take an average from"):
        average_of_halflife(tmp_path, 8)
    (tmp_path / "checkpoints").mkdir()
    for seen in (40, 80):
        tensors = {
            "average/w": torch.zeros(2),
            **{f"average halflife {h}/w": torch.full((2,), seen + h) for h in (8, 64)},
        }
        save_file(tensors, tmp_path / "checkpoints" / f"{seen:012d}.safetensors")
    seen, found = average_of_halflife(tmp_path, 64)
    assert (seen, found["w"].tolist()) == (80, [144, 144])
    for wrong in (16, 6, 0):
        with pytest.raises(InputError, match="it keeps 8, 64"):
            average_of_halflife(tmp_path, wrong)
    (tmp_path / "checkpoints" / "000000000080.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"cannot be read.*Remove it, and the others are used"):
        average_of_halflife(tmp_path, 8)


def test_a_folder_like_the_runs_own(tmp_path):
    own = spec(training={"pictures": 80, "ema_halflife": 16, "seed": 3})
    save_folder(tmp_path / "model", own, network(own).state_dict(), "average")
    tensors = {name: value + 1 for name, value in network(own).state_dict().items()}
    save_average(tmp_path, tmp_path / "new", tensors, {"pictures": 60, "average_length": 0.1})
    model = sf.load(tmp_path / "new")
    assert model.spec.training == {"pictures": 60, "seed": 3, "average_length": 0.1}
    assert (model.spec.labels, model.spec.which_weights) == (own.labels, "average")
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, tensors[name])
    assert json.loads((tmp_path / "model" / "model.json").read_text())["training"]["pictures"] == 80


def test_the_autoencoder_comes_along(tmp_path):
    latent = latent_model()
    assert latent.autoencoder is not None
    states = latent.network.state_dict()
    save_folder(tmp_path / "model", latent.spec, states, "average", parts=Parts(latent.autoencoder.state_dict(), None))
    save_average(tmp_path, tmp_path / "new", states, {})
    one, other = (sf.load(tmp_path / name).sample(1, seed=2, steps=2).array for name in ("model", "new"))
    assert np.array_equal(one, other)


def test_where_no_folder_can_be_made(tmp_path):
    with pytest.raises(InputError, match="model"):
        save_average(tmp_path, tmp_path / "new", {}, {})
    save_folder(tmp_path / "model", spec(), network(spec()).state_dict(), "average")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.tex").write_text("mine")
    with pytest.raises(InputError, match="thesis"):
        save_average(tmp_path, tmp_path / "thesis", network(spec()).state_dict(), {})
    assert (tmp_path / "thesis" / "one.tex").read_text() == "mine"
