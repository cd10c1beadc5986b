"""A run that is killed and resumed, however often, ends in the same bytes as one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from factory import QUIET, config, pictures
from sfumato.errors import InputError
from sfumato.training.loop import train

HERE = Path(__file__).parent


def run(out: Path, data: Path, resume: bool, die: str = "never") -> int:
    """One sitting in a process of its own; the exit status, -9 when it was killed."""
    words = [sys.executable, str(HERE / "kill.py"), str(out), str(data), "resume" if resume else "start", die]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def outcome(out: Path):
    """What must be equal: final weights, averages, optimizer, the exported model, and the log but for its timings."""
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    facts = [(e["pictures"], e["loss"], e["grad_norm"], e["lr"]) for e in log]
    last = sorted((out / "checkpoints").glob("*.safetensors"))[-1]
    tensors = {name: value.numpy().tobytes() for name, value in load_file(last).items()}
    return last.name, tensors, (out / "model" / "weights.safetensors").read_bytes(), facts


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run(out, data, resume=False) == 0
    return outcome(out)


def test_there_is_something_to_compare(undisturbed):
    name, tensors, _, log = undisturbed
    assert name == "000000000040.safetensors"
    assert [entry[0] for entry in log] == [8, 16, 24, 32, 40]
    assert {key.split("/")[0] for key in tensors} == {"weights", "average", "optimizer"}


@pytest.mark.parametrize(
    "deaths",
    [
        [f"step={random.Random(1).randint(4, 9)}"],  # 10 steps in all, a checkpoint after 3, 6, 9 and 10
        ["save=1"],
        ["step=5", "save=0", f"step={random.Random(2).randint(0, 2)}"],
    ],
    ids=lambda deaths: "+".join(deaths),
)
def test_killed_and_resumed_is_byte_for_byte_the_same(tmp_path, data, undisturbed, deaths):
    out = tmp_path / "run"
    for i, die in enumerate(deaths):
        assert run(out, data, resume=i > 0, die=die) == -signal.SIGKILL
    assert run(out, data, resume=True) == 0
    for mine, theirs in zip(outcome(out), undisturbed, strict=True):
        assert mine == theirs


def test_resume_passes_over_a_damaged_checkpoint(tmp_path, data, undisturbed):
    out = tmp_path / "run"
    assert run(out, data, resume=False, die="step=8") == -signal.SIGKILL
    newest = sorted((out / "checkpoints").glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run(out, data, resume=True) == 0
    assert outcome(out) == undisturbed


def test_ctrl_c_saves_says_how_to_go_on_and_changes_nothing(tmp_path, data, capsys):
    """A real SIGINT, in the middle of a step."""
    from rich.console import Console

    from sfumato.training import loop

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config(data, whole), QUIET)
    count, honest = [0], loop.decay

    def interrupting(*args):
        count[0] += 1
        if count[0] == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "decay", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(config(data, stopped), Console(file=sys.stderr, width=200))
    assert (
        f"Stopped and saved at 20 pictures. Go on with: sfumato train --out {stopped} --resume"
        in capsys.readouterr().err
    )
    train(config(data, stopped, resume=True), QUIET)
    assert outcome(stopped) == outcome(whole)


def test_a_longer_run_may_go_on_from_a_finished_one(tmp_path, data):
    out = tmp_path / "run"
    train(config(data, out), QUIET)
    train(config(data, out, pictures=60, resume=True), QUIET)
    assert json.loads((out / "model" / "model.json").read_text())["training"]["pictures"] == 60
    with pytest.raises(InputError, match="has seen 60 pictures, more than the 40"):
        train(config(data, out, resume=True), QUIET)


def test_refuses_another_config_other_data_or_an_occupied_folder(tmp_path, data):
    out = tmp_path / "run"
    train(config(data, out), QUIET)
    with pytest.raises(InputError, match="already holds a run"):
        train(config(data, out), QUIET)
    with pytest.raises(InputError, match=r"lr was 0\.001 and now is 0\.002"):
        train(config(data, out, lr=2e-3, pictures=60, resume=True), QUIET)
    with pytest.raises(InputError, match="holds no run to resume"):
        train(config(data, tmp_path / "none", resume=True), QUIET)
    (out / "data.safetensors").unlink()
    next(data.glob("red/*.png")).rename(data / "blue" / "moved.png")
    with pytest.raises(InputError, match="fingerprint differs"):
        train(config(data, out, pictures=60, resume=True), QUIET)
