"""The search, for any memory; and what is said of a small training, on a CPU and on a GPU that is made up."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from factory import NETWORK
from sfumato.cli.main import main
from sfumato.errors import InputError
from sfumato.training import find_batch as module
from sfumato.training.config import TrainConfig
from sfumato.training.find_batch import SHARE, Found, Row, find_batch, largest
from sfumato.training.footprint import footprint
from sfumato.training.trial import Trial, place_of


def config(**changes) -> TrainConfig:
    given = {"size": 8, "network": NETWORK, "batch": 48, "device": "cpu", "threads": 1, **changes}
    return TrainConfig(data="", out=Path(), **given)


@given(steps=st.lists(st.integers(0, 9), min_size=1, max_size=200), room=st.integers(0, 500), most=st.integers(1, 300))
def test_what_is_found_fits_and_one_more_does_not(steps, room, most):
    """Any memory that never falls with more pictures: a sum of steps, flat ones too; beyond the last it stays."""
    asked = []

    def fits(count: int) -> bool:
        asked.append(count)
        return sum(steps[:count]) <= room

    found = largest(fits, most)
    assert found == max((n for n in range(1, most + 1) if sum(steps[:n]) <= room), default=0)
    assert max(asked) <= min(most, max(2 * found, 1))
    assert len(asked) == len(set(asked)) <= 2 * math.log2(most) + 2


def peak(asked: TrainConfig, count: int) -> int:
    return footprint(asked, place_of(asked)).peak(count)


@pytest.fixture
def tight(monkeypatch):
    """As much memory as 20 pictures at once take, if 80 % of it may be taken."""
    free = math.ceil(peak(config(batch=20), 20) / SHARE)
    monkeypatch.setattr(module, "free_bytes", lambda device: free)
    monkeypatch.setattr(module, "SECONDS", math.inf)
    return free


def test_the_largest_batches_by_prediction_each_measured(tight, monkeypatch):
    monkeypatch.setattr(module, "Peak", lambda device: SimpleNamespace(bytes=lambda: 1))  # no more than predicted
    found = find_batch(config())
    assert [row.options for row in found.rows] == [
        "",
        "--accumulate 2",
        "--gradient-checkpointing",
        "--accumulate 2 --gradient-checkpointing",
    ]
    for row, (parts, recomputes) in zip(found.rows, module.WAYS, strict=True):
        way, count = config(accumulate=parts, gradient_checkpointing=recomputes), row.batch // parts
        assert row.tried == row.batch == parts * count
        assert row.expected == row.predicted == peak(way, count) <= found.most < peak(way, count + 1)
        assert row.rate > 0
    plain, split, again, _ = found.rows
    assert split.batch < 2 * plain.batch < 2 * again.batch
    assert plain.batch == 20
    assert (found.free, found.most, found.asked) == (tight, int(SHARE * tight), 48)


def test_a_measured_peak_above_the_prediction_counts(tight, monkeypatch):
    """Here everything takes half as much again as predicted, so that 20 pictures do not fit, nor are ever tried."""
    tried, honest = [], Trial.step
    monkeypatch.setattr(Trial, "step", lambda trial, count: tried.append(count) or honest(trial, count))
    monkeypatch.setattr(
        module, "Peak", lambda device: SimpleNamespace(bytes=lambda: round(1.5 * peak(config(), tried[-1])))
    )
    most = 2 * int(SHARE * tight)
    row = module._by_prediction(config(batch=1), most, module.MOST)
    assert 1.5 * peak(config(), row.batch) <= most < 1.5 * peak(config(), row.batch + 2)
    assert row.tried == row.batch == max(tried)
    assert row.expected == pytest.approx(1.5 * row.predicted)


def test_a_step_that_would_take_too_long_is_measured_with_fewer_pictures(tight, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "Peak", lambda device: SimpleNamespace(bytes=lambda: None))
    row = find_batch(config()).rows[0]
    assert (row.tried, row.batch, row.measured) == (1, 20, None)
    assert row.predicted == peak(config(), 1)


def test_where_nothing_fits_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(module, "Trial", None)
    found = find_batch(config())
    assert {row.batch for row in found.rows} == {0}
    assert "none fits" in str(found)
    assert "not a single picture fits" in str(found)


class Gpu:
    """torch.cuda, in whose memory so many pictures find room, checkpointed four times as many."""

    def __init__(self, room: int) -> None:
        self.room, self.fractions, self.tried, self.emptied = room, [], [], 0

    def step(self, trial: Trial, count: int) -> float:
        self.tried.append(count)
        if count > self.room * (4 if trial.config.gradient_checkpointing else 1):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.5

    def put_in_place(self, monkeypatch):
        cuda = {
            "get_device_properties": lambda device: SimpleNamespace(total_memory=1000),
            "get_device_name": lambda device: "a GPU",
            "memory_allocated": lambda device: 100,
            "max_memory_allocated": lambda device: 700,
            "reset_peak_memory_stats": lambda device: None,
            "set_per_process_memory_fraction": lambda share, device: self.fractions.append(share),
            "empty_cache": lambda: setattr(self, "emptied", self.emptied + 1),
        }
        for name, value in cuda.items():
            monkeypatch.setattr(torch.cuda, name, value)
        place = replace(place_of(config()), device="cuda")
        monkeypatch.setattr(module, "place_of", lambda asked: place)
        monkeypatch.setattr(module, "footprint", lambda asked, place: SimpleNamespace(peak=lambda count: 10 * count))
        monkeypatch.setattr(module, "free_bytes", lambda device: 500)
        monkeypatch.setattr(Trial, "step", lambda trial, count: self.step(trial, count))


@pytest.mark.parametrize("room", [1, 13, 64])
def test_on_a_gpu_by_trying_within_a_share_of_its_memory(room, monkeypatch):
    gpu = Gpu(room)
    gpu.put_in_place(monkeypatch)
    found = find_batch(config())
    assert [row.batch for row in found.rows] == [room, 2 * room, 4 * room, 8 * room]
    assert [row.measured for row in found.rows] == [600] * 4
    assert found.rows[1].rate == 2 * room / 0.5
    assert gpu.fractions == [(100 + SHARE * 500) / 1000, 1.0] * 4
    assert gpu.emptied > 0
    assert max(gpu.tried) <= 8 * room


def test_on_a_gpu_where_nothing_fits(monkeypatch):
    gpu = Gpu(0)
    gpu.put_in_place(monkeypatch)
    assert {row.batch for row in find_batch(config()).rows} == {0}
    assert gpu.fractions[-1] == 1.0


@pytest.mark.parametrize(
    ("asked", "plain", "again", "said"),
    [
        (48, 64, 99, "for yours: --batch 48"),
        (48, 20, 30, "for yours: --batch 48 --accumulate 3"),
        (48, 0, 30, "for yours: --batch 48 --accumulate 2 --gradient-checkpointing"),
        (7, 6, 30, "for yours: --batch 7 --accumulate 7"),
    ],
)
def test_what_is_said_of_the_batch_that_was_asked_for(asked, plain, again, said):
    rows = [Row("", plain, 1), Row("a", 1, 1), Row("b", again, 1), Row("c", 1, 1)]
    assert str(Found("here", 10, 100, 80, asked, tuple(rows))).splitlines()[-1] == said


def test_a_table_and_nothing_else(tight, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "Peak", lambda device: SimpleNamespace(bytes=lambda: None))
    words = "--size 8 --network.channels 8 --network.multipliers 1 2 --network.attention-levels 1 --network.groups 4"
    before = torch.get_rng_state()
    more = ["--network.head-channels", "8", "--batch", "48", "--threads", "1", "--device", "cpu"]
    assert main(["train", "--find-batch", *words.split(), *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("parameters, on 1 CPU threads, float32")
    assert "80 % of it may be taken" in lines[1]
    assert len({len(line) for line in lines[2:7]}) == 1
    assert lines[3].startswith("(no option)")
    assert lines[-1].startswith("for yours: --batch 48")
    assert not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"text": "words"}, "--text, --autoencoder or --lora.rank"), ({"device": "abacus"}, "abacus")],
)
def test_what_it_cannot_know(asked, message):
    with pytest.raises(InputError, match=message):
        find_batch(config(**asked))
