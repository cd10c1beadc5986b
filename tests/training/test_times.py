import math

import numpy as np
import pytest
import torch

from sfumato.data.dataset import Dataset
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.training.batches import Batches
from sfumato.training.times import continuous, log_normal, on_steps, unit


def fractions(count: int, start: int = 0, seed: int = 0) -> np.ndarray:
    images = np.zeros((4, 2, 2, 3), np.uint8)
    return Batches(Dataset("d", images, np.zeros((4, 0), np.int64)), seed).at(start, count).fraction


def test_steps_are_exact_to_the_last_bit():
    """Where ⌊u·T⌋ in floating point would round up to the next step."""
    edge = -(-(2**64) * 3 // 10)  # the first fraction of step 4 of 10
    ends = np.array([0, edge - 1, edge, 2**64 - 1], np.uint64)
    assert on_steps(ends, 10).tolist() == [0.1, 0.3, 0.4, 1.0]
    assert (unit(ends) < 1).all()


def test_continuous_times_fill_the_interval_between_least_and_all_noise():
    t = continuous(fractions(4096), 100).sort().values
    assert t[0] >= 0.01
    assert t[-1] <= 1
    assert t.diff().max() < 3 * 0.99 / 4096  # golden-ratio points leave no larger gap
    assert continuous(np.array([0], np.uint64), 100).item() == 1


@pytest.mark.parametrize("start", [0, 777])
def test_every_batch_is_stratified(start):
    """Of any 64 consecutive pictures at most 3 fall into one 32nd; the mean of a function of t varies far less."""
    u = unit(fractions(64 * 40, start, seed=3)).numpy().reshape(40, 64)
    counts = np.stack([np.bincount((row * 32).astype(int), minlength=32) for row in u])
    assert counts.min() >= 1
    assert counts.max() <= 3
    spread = np.cos(math.pi * u).mean(1).std()
    assert spread < 0.25 * math.sqrt(0.5 / 64)


def test_log_normal_noise_levels_follow_their_law():
    """P(σ ≤ s) at ten levels, from 10,000 pictures."""
    schedule = NoiseSchedule.edm()
    t = log_normal(fractions(10_000), schedule, -1.2, 1.2)
    log_noise = -schedule.log_snr(t) / 2
    for z in (-2.0, -1.0, 0.0, 1.0, 2.0):
        share = (log_noise <= -1.2 + 1.2 * z).double().mean().item()
        assert share == pytest.approx((1 + math.erf(z / 2**0.5)) / 2, abs=1e-3)
    ends = log_normal(np.array([0, 2**64 - 1], np.uint64), schedule, -1.2, 1.2)
    assert 0 < ends[0] < 0.001
    assert ends[1] == 1


def test_log_normal_times_reach_pure_noise_and_no_further():
    t = log_normal(fractions(100), NoiseSchedule.cosine().zero_terminal_snr(), 60.0, 1.0)
    assert torch.all((t > 0.99) & (t <= 1))
