"""What a dry run counts, against networks that exist; its times by arithmetic. Its words: tests/cli/test_presets.py."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from factory import NETWORK
from sfumato.errors import InputError
from sfumato.networks.unet import UNet
from sfumato.training import estimate as module
from sfumato.training.averages_config import AveragesConfig
from sfumato.training.config import TrainConfig
from sfumato.training.estimate import Estimate, estimate
from sfumato.training.footprint import Footprint, footprint, state_bytes
from sfumato.training.objective_config import ObjectiveConfig
from sfumato.training.trial import place_of


def config(**changes) -> TrainConfig:
    given = {"size": 8, "network": NETWORK, "batch": 4, "device": "cpu", "threads": 1, **changes}
    return TrainConfig(data="", out=Path(), **given)


@pytest.fixture
def unmeasured(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda device: 0)


@pytest.fixture
def uncounted(monkeypatch, unmeasured):
    """Nor are operations and what a step takes, for which seconds are needed."""
    monkeypatch.setattr(module, "_flops", lambda shape, size: (0, 0))
    uncounted_peaks(monkeypatch)


def uncounted_peaks(monkeypatch):
    nothing = np.zeros(1)
    monkeypatch.setattr(module, "footprint", lambda *given: Footprint(state_bytes(*given), nothing, nothing))


def parameters(**changes) -> int:
    return sum(p.numel() for p in UNet(replace(NETWORK, **changes)).parameters())


@pytest.mark.parametrize(
    ("asked", "network"),
    [
        ({}, {}),
        ({"network": replace(NETWORK, labels=(3,))}, {"labels": (3,)}),
        ({"objective": ObjectiveConfig(variance="interpolated")}, {"out_channels": 6}),
        ({"objective": ObjectiveConfig(self_conditioning=True)}, {"in_channels": 6, "out_channels": 3}),
    ],
)
def test_parameters_are_those_of_the_network_that_would_be_trained(asked, network, uncounted):
    found = estimate(config(**asked))
    assert found.parameters == parameters(**network)
    assert found.state_bytes == 4 * found.parameters * 5  # weights, gradients, two moments, an average


def test_each_further_average_takes_as_much_as_the_weights(uncounted):
    found = estimate(config(averages=AveragesConfig(halflives=(8,), lengths=(0.05, 0.1))))
    assert found.state_bytes == 4 * found.parameters * 8


def test_memory_is_that_of_a_micro_batch(unmeasured, monkeypatch):
    monkeypatch.setattr(module, "_flops", lambda shape, size: (0, 0))
    for asked, count in (({"batch": 8}, 8), ({"batch": 8, "accumulate": 2}, 4)):
        expected = footprint(config(**asked), place_of(config(**asked))).peak(count)
        assert estimate(config(**asked)).peak_bytes == expected > estimate(config(**asked)).state_bytes


def test_self_conditioning_guesses_half_of_the_pictures_first(unmeasured, monkeypatch):
    uncounted_peaks(monkeypatch)
    found, plain = (estimate(config(objective=ObjectiveConfig(self_conditioning=asked))) for asked in (True, False))
    assert found.step_flops / found.forward_flops - plain.step_flops / plain.forward_flops == pytest.approx(
        0.5, abs=0.05
    )


def test_time_is_of_pictures_and_of_steps_the_last_of_which_may_be_small():
    facts = Estimate(1, 2, 3, 4, 5, 1000, 64, 64, 0.01, 0.5, "a machine")
    assert facts.seconds == pytest.approx(1000 * 0.01 + 16 * 0.5)
    assert "18 seconds at 55.6 pictures/s on a machine" in str(facts)
    for seconds, words in ((119, "119 seconds"), (120, "2.0 minutes"), (7_200, "2.0 hours"), (172_800, "2.0 days")):
        assert f"time:        {words}" in str(replace(facts, pictures=64, update_seconds=seconds - 0.64))


def test_no_more_is_tried_than_half_of_what_is_free(monkeypatch):
    monkeypatch.setattr(module, "_flops", lambda shape, size: (0, 0))
    monkeypatch.setattr(module, "BURST", math.inf)
    taken = footprint(config(batch=32), place_of(config(batch=32)))
    monkeypatch.setattr(module, "free_bytes", lambda device: 2 * taken.peak(6))
    assert estimate(config(batch=32)).measured == 6


def test_what_is_too_large_for_the_machine_is_counted_and_not_measured(uncounted):
    found = estimate(config())
    assert (found.measured, found.picture_seconds) == (0, 0)
    assert "not measured: more than half of the free memory of cpu" in str(found)


def test_measures_a_whole_micro_batch_where_that_is_quick_and_disturbs_no_random_numbers(monkeypatch):
    uncounted_peaks(monkeypatch)
    monkeypatch.setattr(module, "BURST", math.inf)
    before = torch.get_rng_state()
    found = estimate(config(batch=8, accumulate=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert found.measured == 4
    assert found.picture_seconds > 0
    assert found.update_seconds > 0


def test_stops_growing_where_a_step_is_slow(monkeypatch):
    uncounted_peaks(monkeypatch)
    monkeypatch.setattr(module, "BURST", 0.0)
    assert estimate(config(batch=64)).measured == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": "words"}, "pictures with labels; not with --text"),
        ({"autoencoder": Path("a")}, "pictures with labels; not with --text"),
        ({"device": "abacus"}, "abacus"),
        ({"weighting": "vlb", "objective": ObjectiveConfig(times="continuous")}, "schedule's steps"),
    ],
)
def test_what_it_cannot_know_or_do(asked, message, monkeypatch):
    uncounted_peaks(monkeypatch)
    with pytest.raises(InputError, match=message):
        estimate(config(**asked))
