"""Several processes train what one would have trained: same pictures, same losses, same weights but for rounding."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import several
from factory import QUIET, config, pictures
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.training import ranks, sharded
from sfumato.training.averages_config import AveragesConfig
from sfumato.training.checkpoint import restore
from sfumato.training.entries import entries
from sfumato.training.loop import train
from sfumato.training.lora_config import LoraConfig
from sfumato.training.objective_config import ObjectiveConfig
from sfumato.training.ranks import ALONE, joined
from sfumato.training.snapshots import average_of_halflife, average_of_length
from sfumato.training.steps import Part, parts, split, steps

# 5 pictures are 3 and 2, or 2, 1, 1 and 1; the last step has a single one
PLAIN = {"pictures": 31, "batch": 5, "cooldown": 0.0, "flip": True, "checkpoint_every": 15, "keep": 9}
EVERYTHING = {
    **PLAIN,
    "accumulate": 5,
    "schedule": ScheduleConfig("cosine", 2),
    "objective": ObjectiveConfig(times="importance", uncertainty=True, self_conditioning=True),
    "averages": AveragesConfig(halflives=(8,), lengths=(0.1, 0.2), every=20),
    "workers": 2,
}
BEFORE = 15  # pictures, where a run is taken over by another number of ranks


@pytest.fixture(scope="module")
def server():
    """Forks ranks from one process that has imported everything, and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([several.__name__])
    return context


def launch(server, folder: Path, size: int, runs, die=None) -> list[tuple[int, str]]:
    """Trainings of `size` processes that meet at a free port, as those of torchrun do; how each of them ended."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    said = [folder / f"said by {i} of {size}" for i in range(size)]
    processes = []
    for i in range(size):
        environment = {"RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(size), **there}
        processes.append(server.Process(target=several.run, args=(runs, environment, said[i], die)))
        processes[-1].start()
    for process in processes:
        process.join()
    return [(process.exitcode, path.read_text()) for process, path in zip(processes, said, strict=True)]


def taken_over(run: Path, out: Path) -> Path:
    """A copy of a run as it was when `BEFORE` pictures were seen."""
    shutil.copytree(run, out)
    (out / "checkpoints" / "latest").unlink()
    for path in entries(out / "checkpoints"):
        if int(path.stem) > BEFORE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return out


def log(out: Path):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def tensors(out: Path):
    last = entries(out / "checkpoints")[-1]
    return sharded.tensors(last, "") if last.is_dir() else load_file(last)


def assert_equal(run: Path, alone: Path) -> None:
    """Log, checkpoint and model, but for rounding. The pictures at each noise level are the very same."""
    lines, expected = log(run), log(alone)
    assert [line["pictures"] for line in lines] == [line["pictures"] for line in expected]
    for line, other in zip(lines, expected, strict=True):
        assert line["by_time"]["pictures"] == other["by_time"]["pictures"]
        for name in ("loss", "grad_norm"):
            assert line[name] == pytest.approx(other[name], rel=1e-4)
    mine, theirs = tensors(run), tensors(alone)
    assert set(mine) == set(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
    model = load_file(run / "model" / "weights.safetensors")
    for name, value in load_file(alone / "model" / "weights.safetensors").items():
        torch.testing.assert_close(model[name], value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory, data):
    """Runs of one process."""
    out = tmp_path_factory.mktemp("alone")
    train(config(data, out / "plain", **PLAIN), QUIET)
    train(config(data, out / "everything", **EVERYTHING), QUIET)
    assert not dist.is_initialized()
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory, server, data, alone):
    """Runs of two processes; the last one is refused."""
    out = tmp_path_factory.mktemp("two")
    runs = []
    for parallel in ("ddp", "fsdp"):
        more = {"parallel": parallel}
        runs += [
            config(data, out / f"plain {parallel}", **PLAIN, **more, sample_every=30),
            config(data, out / f"everything {parallel}", **EVERYTHING, **more, gradient_checkpointing=True),
            config(data, taken_over(alone / "plain", out / f"from one {parallel}"), **PLAIN, **more, resume=True),
        ]
    (leader, said), (other, heard) = launch(server, out, 2, [*runs, config(data, out / "plain ddp", **PLAIN)])
    assert (leader, other) == (1, 1), said + heard
    assert said.startswith("InputError: ")
    assert "already holds a run" in said, said
    assert "SfumatoError: rank 1 waited for the others in vain" in heard, heard
    return out


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("kind", ["plain", "everything"])
def test_two_train_what_one_would_have(alone, two, kind, parallel):
    assert_equal(two / f"{kind} {parallel}", alone / kind)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_go_on_from_one(alone, two, parallel):
    assert_equal(two / f"from one {parallel}", alone / "plain")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_goes_on_from_two(tmp_path, data, alone, two, parallel):
    out = taken_over(two / f"plain {parallel}", tmp_path / "run")
    train(config(data, out, **PLAIN, resume=True), QUIET)
    assert_equal(out, alone / "plain")


def test_four_go_on_from_two(tmp_path, server, data, alone, two):
    runs = []
    for before, now in (("ddp", "fsdp"), ("fsdp", "ddp"), ("fsdp", "fsdp")):
        out = taken_over(two / f"everything {before}", tmp_path / f"{before} {now}")
        runs.append(config(data, out, **EVERYTHING, parallel=now, resume=True))
    ends = launch(server, tmp_path, 4, runs)
    assert [code for code, _ in ends] == [0] * 4, ends
    for run in runs:
        assert_equal(run.out, alone / "everything")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_what_they_leave_can_be_used_as_that_of_one(alone, two, parallel):
    run, other = two / f"everything {parallel}", alone / "everything"
    for found, expected in [
        (average_of_halflife(run, 8)[1], average_of_halflife(other, 8)[1]),
        (average_of_length(run, 0.15)[1], average_of_length(other, 0.15)[1]),
    ]:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    sheets = sorted(path.name for path in (two / f"plain {parallel}" / "samples").iterdir())
    assert sheets == ["000000000030.png", "000000000031.png"]
    kinds = [path.is_dir() for path in entries(run / "checkpoints")]
    assert kinds == [parallel == "fsdp"] * 3


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda entry: flip(entry / "shard-00002-model-00001-of-00001.safetensors"), "do not match their checksums"),
        (lambda entry: flip(entry / "facts.json"), "it cannot be read|not the one that latest"),
        (lambda entry: (entry / "shard-00001-model-00001-of-00001.safetensors").unlink(), "do not match"),
        (lambda entry: (entry / "facts.json").write_text("{}"), "no files in it"),
    ],
)
def test_damaged_shards_are_passed_over(tmp_path, data, two, damage, why):
    out, said = tmp_path / "run", []
    shutil.copytree(two / "plain fsdp", out)
    damage(entries(out / "checkpoints")[-1])
    with pytest.raises(InputError, match="does not fit this run"):  # nothing has a place: here is no network
        restore(out / "checkpoints", {}, torch.optim.AdamW([torch.zeros(1)]), said.append)
    assert len(said) == 1
    assert "WARNING: passed over" in said[0]
    assert "Going on from 000000000030" in said[0]
    assert re.search(why, said[0])


def test_one_killed_ends_all_one_told_to_stop_stops_all_and_torchrun_finishes(tmp_path, server, data, alone):
    out = tmp_path / "run"
    first = config(data, out, **PLAIN)
    (leader, said), (other, _) = launch(server, tmp_path, 2, [first], die=(signal.SIGKILL, 5))
    assert (leader, other) == (1, -signal.SIGKILL)
    assert "SfumatoError: rank 0 waited for the others in vain" in said
    assert [path.stem for path in entries(out / "checkpoints")] == ["000000000015"]
    ends = launch(server, tmp_path, 2, [replace(first, resume=True, parallel="fsdp")], die=(signal.SIGTERM, 2))
    assert [code for code, _ in ends] == [130, 130], ends
    assert [path.name for path in entries(out / "checkpoints")] == ["000000000015.safetensors", "000000000025"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sfumato"]
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, "train", "--out", str(out), "--resume"], env=there, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"model: {out / 'model'}\n"
    assert_equal(out, alone / "plain")


SIZES = {"count": st.integers(1, 40), "most": st.integers(1, 8), "size": st.integers(1, 9)}


@given(first=st.integers(0, 100), **SIZES)
def test_every_picture_of_a_step_is_one_ranks_and_all_make_as_many_parts(first, count, most, size):
    step = Part(first, count)
    shares = [split(step, most, rank, size) for rank in range(size)]
    mine = [part for part in chain.from_iterable(shares) if part.count]
    assert list(chain.from_iterable(range(n, n + c) for n, c in mine)) == list(range(first, first + count))
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) <= most
    sums = [sum(part.count for part in share) for share in shares]
    assert max(sums) - min(sums) <= 1
    assert max(part.count for part in mine) == -(-max(sums) // min(most, max(sums)))
    for share in shares:  # the empty ones come last, and name a picture of the step
        assert [part.count > 0 for part in share] == sorted((part.count > 0 for part in share), reverse=True)
        assert all(part.first == first for part in share if not part.count)


@given(seen=st.integers(0, 30), pictures=st.integers(1, 90), batch=st.integers(1, 20), size=st.integers(1, 6))
def test_all_ranks_together_show_what_one_would(seen, pictures, batch, size):
    by_rank = [iter(parts(seen, pictures, batch, 3, rank, size)) for rank in range(size)]
    order = []
    for step in steps(seen, pictures, batch):
        for rank in range(size):
            for first, count in [next(by_rank[rank]) for _ in split(step, 3, rank, size)]:
                order += range(first, first + count)
    assert order == list(range(seen, pictures))
    assert all(next(rest, None) is None for rest in by_rank)


def test_one_alone_joins_nobody(monkeypatch, data, tmp_path):
    for size in (None, "1"):
        monkeypatch.delenv("WORLD_SIZE", raising=False) if size is None else monkeypatch.setenv("WORLD_SIZE", size)
        with joined(config(data, tmp_path)) as world:
            assert world is ALONE
            assert not dist.is_initialized()
    assert ALONE.leads
    assert not ALONE.shards
    assert ALONE.together(3) == [3]
    assert ALONE.any(True)
    assert not ALONE.any(False)


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({}, {"WORLD_SIZE": "2"}, "WORLD_SIZE=2, but RANK=None. Start with torchrun"),
        ({}, {"WORLD_SIZE": "two"}, "WORLD_SIZE=two, but WORLD_SIZE=two"),
        ({}, {"WORLD_SIZE": "2", "RANK": "0"}, "cannot join the other processes"),
        ({}, {"WORLD_SIZE": "8", "RANK": "0"}, "a batch of 4 pictures is too small for 8 processes"),
        ({"device": "mps"}, {"WORLD_SIZE": "2", "RANK": "0"}, "not on 'mps'"),
        ({"device": "cuda:1"}, {"WORLD_SIZE": "2", "RANK": "0"}, "each on the device of its own, not on 'cuda:1'"),
    ],
)
def test_what_cannot_work_is_told(monkeypatch, data, tmp_path, changes, where, message):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message), joined(config(data, tmp_path, **changes)):
        raise AssertionError


def test_each_takes_the_gpu_of_its_local_rank(monkeypatch):
    """With two made up: there is none here."""
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for local in ("1", "0"):
        monkeypatch.setenv("LOCAL_RANK", local)
        assert ranks._take_device("auto") == ranks._take_device("cuda") == "nccl"
        assert ranks._take_device("cpu") == "gloo"
    assert taken == [1, 1, 0, 0]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="there are 2 here, so take --nproc-per-node 2"):
        ranks._take_device("cuda")


def test_an_adapter_is_not_sharded(data, tmp_path):
    with pytest.raises(InputError, match="too small to be worth sharding"):
        config(data, tmp_path, start="emoji", lora=LoraConfig(rank=4), parallel="fsdp")
    with pytest.raises(InputError, match="parallel is ddp or fsdp"):
        config(data, tmp_path, parallel="pipeline")
