"""Sums by time against counting by hand, and what the objective hears against the formulas."""

import json
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
import torch

from sfumato.training.by_time import BUCKETS, ByTime, bucket_of, in_buckets
from sfumato.training.checkpoint import Position, Window
from sfumato.training.told import Told
from sfumato.typed import build


def test_every_step_lies_in_the_bucket_of_its_tenth():
    """By exact fractions: (k/10, (k+1)/10] holds i/T. In floating point 3/10 · 10 may be a little more than 3."""
    for steps in (10, 50, 1000, 999):
        times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        expected = [-(-Fraction(i, steps) * BUCKETS // 1) - 1 for i in range(1, steps + 1)]
        assert bucket_of(times).tolist() == expected
    assert bucket_of(torch.tensor([1e-9, 0.1, 0.1000001, 1.0], dtype=torch.float64)).tolist() == [0, 0, 1, 9]


def test_sums_are_those_of_each_bucket():
    generator = torch.Generator().manual_seed(0)
    t, values = torch.rand(500, generator=generator, dtype=torch.float64), torch.randn(3, 500, generator=generator)
    expected = np.zeros((3, BUCKETS))
    for i, time in enumerate(t.tolist()):
        expected[:, int(time * BUCKETS)] += values[:, i].double().numpy()
    np.testing.assert_allclose(in_buckets(t, values), expected, rtol=1e-4, atol=1e-4)


def test_what_is_not_finite_stays_in_its_bucket():
    found = in_buckets(torch.tensor([0.05, 0.95]), torch.tensor([[1.0, float("nan")]]))
    assert found[0, :9].tolist() == [1, *[0] * 8]
    assert found[0, 9].isnan()


def test_means_are_over_pictures_and_none_where_there_were_none():
    step = torch.zeros(4, BUCKETS)
    step[:, 2] = torch.tensor([2.0, 3.0, 5.0, 7.0])
    told = ByTime().plus(step.flatten().tolist()).plus(step.flatten().tolist()).means()
    assert told["pictures"] == [0, 0, 4, *[0] * 7]
    assert [told[name][2] for name in ("loss", "trivial", "v_error")] == [1.5, 2.5, 3.5]
    assert told["loss"][:2] == [None, None]
    assert ByTime().plus([]) == ByTime()
    with pytest.raises(ValueError, match="shorter"):
        ByTime().plus([1.0] * BUCKETS)


def test_a_window_with_all_of_it_comes_back_from_json_as_it_was():
    """Else a resumed run would write other lines. An error beyond all numbers must not spoil a checkpoint."""
    values = (torch.rand(4 * BUCKETS, generator=torch.Generator().manual_seed(3)) / 3).tolist()
    values[-1] = float("inf")
    window = Window().with_step(0.1, 0.2, 3, {"part": 1 / 3}, values).with_step(0.3, 0.1, 4, {"part": 0.1}, values)
    position = Position(7, 99, window, told=Told(("loss",), {"labels": "say"}))
    assert build(Position, json.loads(json.dumps(asdict(position))), "x") == position
    old = {"seen": 7, "log_bytes": 99, "window": {"loss_sum": 1.0, "count": 2, "largest": 3.0, "part_sums": {}}}
    assert build(Position, old, "a checkpoint from before").window.by_time == ByTime()
