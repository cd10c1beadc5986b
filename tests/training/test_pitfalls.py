"""Each warning speaks when it should, and is silent in a training that is as it should be."""

from dataclasses import replace
from pathlib import Path

import pytest

from sfumato.training import pitfalls
from sfumato.training.config import TrainConfig
from sfumato.training.ema import decay

DEFAULT = TrainConfig(data="emoji", out=Path("x"))


def left_of_the_first_half(config):
    """What the average holds of it in the end, step by step, with the very decay that training uses."""
    left, seen = 1.0, 0  # it begins as the weights that were there before the first step
    while seen < config.pictures:
        seen += config.batch
        keep = decay(config.batch, seen, config.ema_halflife, config.ema_rampup)
        left = left * keep + (1 - keep) * (seen <= config.pictures // 2)
    return left


@pytest.mark.parametrize(
    "changes",
    [
        {"ema_halflife": 30_000, "ema_rampup": 1.0},
        {"ema_halflife": 10_000, "ema_rampup": 0.15},
        {"ema_halflife": 10**9, "ema_rampup": 0.3},
        {"ema_halflife": 10**9, "ema_rampup": 1000.0},
        {"ema_halflife": 9_000, "ema_rampup": 0.12},
    ],
)
def test_the_share_of_the_first_half_is_that_of_the_average_itself(monkeypatch, changes):
    """The formula against the recursion, at small steps; the half-life grows throughout, never, or bends on the way."""
    config = replace(DEFAULT, pictures=64_000, batch=8, **changes)
    monkeypatch.setattr(pitfalls, "OLD_SHARE", -1)
    text = pitfalls.long_average(config)
    assert text is not None
    told = int(text.split("%")[0].split()[-1]) / 100
    assert told == pytest.approx(left_of_the_first_half(config), abs=0.006)


def test_an_average_too_long_is_told_and_what_it_names_is_short_enough():
    config = replace(DEFAULT, pictures=100_000, ema_halflife=80_000, ema_rampup=1.0)
    text = pitfalls.long_average(config)
    assert text is not None
    assert "half-life 80,000 of 100,000 pictures" in text
    assert "--ema-halflife 5000" in text
    assert pitfalls.long_average(replace(config, ema_halflife=5000)) is None
    assert pitfalls.long_average(DEFAULT) is None
    assert pitfalls.long_average(replace(DEFAULT, pictures=1000)) is None  # the ramp-up sees to it
    assert pitfalls.long_average(replace(DEFAULT, pictures=1)) is None


def test_too_few_pictures():
    most = pitfalls.PASSES * 500
    text = pitfalls.memorisation_ahead(most + 500, 500, False)
    assert text is not None
    assert f"each of 500 pictures {pitfalls.PASSES + 1} times" in text
    assert f"{most:,} pictures or less" in text
    assert pitfalls.memorisation_ahead(most, 500, False) is None
    assert pitfalls.memorisation_ahead(most + 500, 500, True) is None  # mirrored, they are twice as many


def test_labels():
    assert pitfalls.labels_never_shown(DEFAULT) is None
    text = pitfalls.labels_never_shown(replace(DEFAULT, label_dropout=1.0))
    assert text is not None
    assert "--label-dropout 0.1" in text
    assert pitfalls.labels_ignored(0.2) is None
    assert "changes by 0.001 " in (pitfalls.labels_ignored(0.001) or "")
    assert pitfalls.labels_ignored(0.0) is not None


def test_worse_than_trivial():
    assert pitfalls.worse_than_trivial(0.3, 0.4) is None
    assert "0.5, above the 0.4" in (pitfalls.worse_than_trivial(0.5, 0.4) or "")
    assert pitfalls.worse_than_trivial(0.1, 0.0) is None  # one picture only: nothing to compare with


def test_when_a_training_is_past_its_beginning():
    """Late enough for any warm-up and batch, in time for a short run, and never in a run of a few steps."""
    config = replace(DEFAULT, pictures=1_000_000, batch=64)
    assert pitfalls.settled_in(replace(config, warmup=10_000)) == 64_000
    assert pitfalls.settled_in(replace(config, warmup=100_000)) == 200_000
    assert pitfalls.settled_in(replace(config, pictures=40_000)) == 20_000
    assert pitfalls.settled_in(replace(config, pictures=640)) > 640


def test_all_samples_alike():
    assert pitfalls.collapsed(0.2, 0.25) is None
    assert "vary by 1.0% of" in (pitfalls.collapsed(0.0025, 0.25) or "")
    assert pitfalls.collapsed(0.0, 0.0) is None
