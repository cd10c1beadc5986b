"""Predicted memory: against what is walked for other numbers of pictures, against counting by hand, and measured."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import peaks
from factory import NETWORK
from sfumato.networks.unet import UNet
from sfumato.training import footprint as module
from sfumato.training.averages_config import AveragesConfig
from sfumato.training.config import TrainConfig
from sfumato.training.footprint import Place, at_once, footprint, state_bytes
from sfumato.training.trial import place_of

WAYS = [(1, False), (2, False), (1, True), (2, True)]
BOUND, KEPT = 0.15, 32 * 2**20  # as in bench/memory.py, whose models are larger


def config(**changes) -> TrainConfig:
    return TrainConfig(data="", out=Path(), **{"size": 8, "network": NETWORK, "batch": 4, "device": "cpu", **changes})


@pytest.mark.parametrize(("parts", "recomputes"), WAYS)
@pytest.mark.parametrize("count", [24, 48])
def test_any_number_of_pictures_is_what_a_walk_of_so_many_finds(parts, recomputes, count):
    asked, place = config(accumulate=parts, gradient_checkpointing=recomputes), Place(NETWORK, (8, 8))
    gradients = 0 if parts > 1 else 4 * module.numbers(NETWORK)
    expected = state_bytes(asked, place) + module._walked(place, recomputes, parts > 1, count).max() - gradients
    assert footprint(asked, place).peak(count) == pytest.approx(expected, rel=0.005)


def test_the_state_by_hand():
    """Weights, gradients and two moments; an average, and more where they are asked for. Of an adapter the factors."""
    place, numbers = Place(NETWORK, (8, 8)), sum(p.numel() for p in UNet(NETWORK).parameters())
    more = AveragesConfig(halflives=(8,), lengths=(0.05, 0.1))
    assert state_bytes(config(), place) == 4 * numbers * 5
    assert state_bytes(config(averages=more), place) == 4 * numbers * 8
    assert state_bytes(config(), replace(place, learned=10)) == 4 * (numbers + 40)


def test_a_step_takes_about_what_layers_put_out():
    """And the gradients, which are as large as the weights, once the peak is in the backward pass of many pictures."""
    network, put_out, count = UNet(NETWORK), 0, 64

    def add(layer, inputs, output):
        nonlocal put_out
        put_out += 4 * output.numel() if isinstance(output, torch.Tensor) else 0

    for each in network.modules():
        if not list(each.children()):
            each.register_forward_hook(add)
    with torch.no_grad():
        network(torch.zeros(count, 3, 8, 8), 0.5)
    found = footprint(config(), Place(NETWORK, (8, 8)))
    assert 0.6 * put_out < found.peak(count) - found.state + 4 * module.numbers(NETWORK) < 2 * put_out


def test_what_saves_memory_does():
    place, count = Place(NETWORK, (8, 8)), 64
    plain, kept, again = (
        footprint(config(**asked), place).peak(count)
        for asked in ({}, {"accumulate": 2}, {"gradient_checkpointing": True})
    )
    assert plain < kept < plain + 4 * 1.01 * module.numbers(NETWORK)  # gradients wait for the next micro-batch
    assert again < 0.75 * plain


def test_texts_are_part_of_it():
    shape = replace(NETWORK, context=8)
    few, many = (footprint(config(), Place(shape, (8, 8), tokens=tokens)).peak(32) for tokens in (4, 64))
    assert many > few + 4 * 32 * 60 * 8
    words = replace(shape, vocabulary=20, tokens=64, text_layers=1)
    assert footprint(config(), Place(words, (8, 8), tokens=64)).peak(32) > many


def test_half_of_it_in_bfloat16():
    plain, half = (footprint(config(), Place(NETWORK, (8, 8), half=half)).peak(64) for half in (False, True))
    assert half < plain


@pytest.mark.parametrize(
    ("batch", "parts", "ranks", "count"), [(64, 1, 1, 64), (64, 4, 1, 16), (64, 4, 2, 8), (6, 2, 2, 2)]
)
def test_pictures_at_once(batch, parts, ranks, count):
    assert at_once(config(batch=batch, accumulate=parts), ranks) == count


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs a system that tells the peak")
def test_prediction_and_measurement_agree():
    """Two networks, with and without gradient checkpointing, in a process that has done nothing else.

    glibc gives back what was freed: else it keeps up to half as much again, as `find_batch` finds by measuring.
    """
    told = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, peaks.__file__], env=told, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert measured.keys() == peaks.CASES.keys()
    for case, which in peaks.CASES.items():
        asked = peaks.asked(*which)
        expected = footprint(asked, place_of(asked)).peak(asked.batch)
        assert abs(measured[case] - expected) < max(BOUND * measured[case], KEPT), (case, measured[case], expected)
    for name in peaks.NETWORKS:
        assert measured[f"{name}, checkpointed"] < 0.8 * measured[f"{name}, plain"]
