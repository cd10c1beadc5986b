"""Out of memory: by a failure that is made up, in words that torch and Python really use."""

import io
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from factory import NETWORK, QUIET, config, pictures
from sfumato.errors import InputError, SfumatoError
from sfumato.networks.unet import UNet
from sfumato.training import relief as module
from sfumato.training.footprint import Place, footprint
from sfumato.training.loop import train
from sfumato.training.relief import Advice, out_of_memory

PLACE = Place(NETWORK, (8, 8), learned=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


def failing(monkeypatch, call: int, error: BaseException):
    """The network's call of this number, counted from 1, fails."""
    honest, calls = UNet.forward, [0]

    def forward(self, *given):
        calls[0] += 1
        if calls[0] == call:
            raise error
        return honest(self, *given)

    monkeypatch.setattr(UNet, "forward", forward)


def test_what_torch_and_python_say_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert out_of_memory(caught.value)
    with pytest.raises(MemoryError) as told:
        bytearray(10**18)
    assert out_of_memory(told.value)
    for error in (torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("std::bad_alloc")):
        assert out_of_memory(error)
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory")):
        assert not out_of_memory(error)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()]
)
def test_a_failure_names_what_would_help_and_where_to_go_on(tmp_path, data, monkeypatch, error):
    out = tmp_path / "run"
    failing(monkeypatch, 5, error)
    with pytest.raises(SfumatoError) as caught:
        train(config(data, out), QUIET)
    monkeypatch.undo()
    first, predicted, *ways, last, command = str(caught.value).splitlines()
    assert first == f"no memory is left: {str(error) or 'MemoryError'}"
    assert re.fullmatch(
        r"By prediction a step takes \d+ MB with 4 pictures at once, \d+ MB of it for .* taken by", predicted
    )
    assert [way.split(": about ")[0] for way in ways] == [
        "  --accumulate 4",
        "  --gradient-checkpointing",
        "  --batch 1",
    ]
    assert ways[2].endswith("; a new run")
    assert last == f"The last checkpoint is {out}/checkpoints/000000000012.safetensors."
    assert command == f"Go on with: sfumato train --out {out} --resume --accumulate 4"
    train(config(data, out, resume=True, accumulate=4), QUIET)
    assert (out / "model").is_dir()


def test_before_the_first_checkpoint(tmp_path, data, monkeypatch):
    out = tmp_path / "run"
    failing(monkeypatch, 1, MemoryError())
    with pytest.raises(SfumatoError, match="There is no checkpoint yet"):
        train(config(data, out, batch=1, accumulate=1), QUIET)
    monkeypatch.undo()
    train(config(data, out, batch=1, resume=True, gradient_checkpointing=True, pictures=2), QUIET)


def test_other_failures_stay_what_they_are(tmp_path, data, monkeypatch):
    failing(monkeypatch, 2, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        train(config(data, tmp_path / "run"), QUIET)


def test_without_memory_for_a_prediction_it_is_said_without_numbers(tmp_path, monkeypatch):
    def nothing(*given):
        raise MemoryError

    monkeypatch.setattr(module, "footprint", nothing)
    with (
        pytest.raises(SfumatoError, match=r"no memory is left: gone\nTake --accumulate"),
        Advice(config("x", tmp_path), PLACE).errors(),
    ):
        raise torch.OutOfMemoryError("gone")


def advice(tmp_path, place=PLACE, ranks=1, **changes) -> Advice:
    return Advice(config("x", tmp_path, **{"batch": 64, **changes}), place, ranks)


def test_numbers_are_those_of_the_prediction_and_each_goes_as_far_as_it_must(tmp_path):
    asked = advice(tmp_path)
    plain, split = footprint(asked.config, PLACE), footprint(replace(asked.config, accumulate=2), PLACE)
    again = footprint(replace(asked.config, gradient_checkpointing=True), PLACE)
    most = split.peak(16)
    found = asked.reliefs(most)
    assert [(way.options, way.peak, way.resumes) for way in found] == [
        ("--accumulate 4", split.peak(16), True),
        ("--gradient-checkpointing", again.peak(64), True),
        ("--batch 16", plain.peak(16), False),
    ]
    assert [way.options for way in asked.reliefs(0)][::2] == ["--accumulate 64", "--batch 1"]  # as far as there is


@pytest.mark.parametrize(
    ("place", "ranks", "changes", "options"),
    [
        (PLACE, 4, {}, ["--accumulate 16", "--gradient-checkpointing", "--batch 4"]),
        (PLACE, 1, {"accumulate": 64, "gradient_checkpointing": True}, ["--batch 1 --accumulate 1"]),
        (PLACE, 1, {"accumulate": 64}, ["--gradient-checkpointing", "--batch 1 --accumulate 1"]),
        (PLACE, 1, {"batch": 1}, ["--gradient-checkpointing"]),
        (PLACE, 1, {"batch": 1, "gradient_checkpointing": True}, []),
    ],
)
def test_what_is_left_to_do(tmp_path, place, ranks, changes, options):
    assert [way.options for way in advice(tmp_path, place, ranks, **changes).reliefs(0)] == options


def test_on_a_gpu_bfloat16_is_one_of_three(tmp_path, monkeypatch):
    def made_up(asked, place):
        return SimpleNamespace(peak=lambda count: count * (2 if place.half else 4))

    monkeypatch.setattr(module, "footprint", made_up)
    asked = advice(tmp_path, replace(PLACE, device="cuda"))
    assert [(way.options, way.peak) for way in asked.reliefs(0)][2] == ("--precision bf16", 128)
    asked = advice(tmp_path, replace(PLACE, device="cuda", half=True))
    assert asked.reliefs(0)[2].options == "--batch 1"


def test_a_run_that_is_too_large_is_told_before_its_first_step(tmp_path, data, monkeypatch):
    console = Console(record=True, width=200, file=io.StringIO())
    monkeypatch.setattr(module, "free_bytes", lambda device: 100_000)
    train(config(data, tmp_path / "run", pictures=4), console)
    said = console.export_text()
    assert re.search(
        r"Note: by prediction a step takes \d+ MB, and 0 MB are free. Less is taken by\n  --accumulate 4", said
    )


def test_where_there_is_enough_nothing_is_said_or_predicted(tmp_path, monkeypatch):
    asked, said = advice(tmp_path), []
    bound, peak = asked._loose_bound(), footprint(asked.config, PLACE).peak(64)
    assert peak < bound < 10 * peak
    monkeypatch.setattr(module, "free_bytes", lambda device: peak + 1)
    asked.warn(said.append)
    monkeypatch.setattr(module, "footprint", None)
    monkeypatch.setattr(module, "free_bytes", lambda device: bound)
    asked.warn(said.append)
    assert not said


def test_fsdp_and_compile_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="--compile goes with --parallel ddp"):
        config("x", tmp_path, parallel="fsdp", compile=True)
