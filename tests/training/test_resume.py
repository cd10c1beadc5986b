"""A run that is killed and resumed, however often, ends in the same bytes as one that was left alone."""

import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from factory import NETWORK, QUIET, config, pictures
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
    facts = [{name: value for name, value in e.items() if name not in ("rate", "memory_mb")} for e in log]
    last = sorted((out / "checkpoints").glob("*.safetensors"))[-1]
    tensors = {name: value.numpy().tobytes() for name, value in load_file(last).items()}
    return last.name, tensors, (out / "model" / "weights.safetensors").read_bytes(), facts


random.seed(20261123)  # the steps at which it is killed: any will do, the same in every run of the tests


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
    assert [entry["pictures"] for entry in log] == [8, 16, 24, 32, 40]
    assert {"loss", "grad_norm", "lr", "by_time"} <= set(log[0])
    assert {key.split("/")[0] for key in tensors} == {"weights", "average", "optimizer"}


@pytest.mark.parametrize(
    "deaths",
    [  # 10 steps in all, a checkpoint after 3, 6, 9 and 10
        ["step=1"],  # before there is any
        ["save=0", "save=0", f"step={random.randrange(10)}"],
        ["save=1", "step=1", f"save={random.randrange(2)}"],
        [f"step={random.randrange(4, 9)}", "step=0"],
        ["swap=0"],
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


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_resume_passes_over_a_damaged_checkpoint_and_keeps_the_good_one(tmp_path, data, undisturbed, damage):
    """Cut short, one bit flipped, emptied. With room for one checkpoint, the damaged one must not push out the good."""
    out = tmp_path / "run"
    assert run(out, data, resume=False, die="step=8") == -signal.SIGKILL
    newest = sorted((out / "checkpoints").glob("*.safetensors"))[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    assert run(out, data, resume=True, die="save=0") == -signal.SIGKILL  # dies while it writes that one again
    names = [p.name for p in sorted((out / "checkpoints").glob("0*"))]
    assert names == ["000000000012.safetensors", f"{newest.stem}.damaged"]
    assert run(out, data, resume=True) == 0
    assert outcome(out) == undisturbed


def test_when_no_checkpoint_is_whole_it_says_so(tmp_path, data):
    out = tmp_path / "run"
    train(config(data, out), QUIET)
    for path in (out / "checkpoints").iterdir():
        path.write_bytes(b"torn")
    before = (out / "log.jsonl").read_bytes()
    for _ in range(2):
        with pytest.raises(InputError, match=r"(?s)no checkpoint in .* is whole:.*000000000040.safetensors: it cannot"):
            train(config(data, out, resume=True), QUIET)
    assert (out / "log.jsonl").read_bytes() == before


def test_a_checkpoint_of_another_network_or_format_is_refused(tmp_path, data):
    out, other = tmp_path / "run", tmp_path / "other"
    train(config(data, out), QUIET)
    train(config(data, other, network=replace(NETWORK, channels=16)), QUIET)
    for path in (other / "checkpoints").iterdir():
        (out / "checkpoints" / path.name).write_bytes(path.read_bytes())
    last = sorted((out / "checkpoints").glob("*.safetensors"))[-1]
    with pytest.raises(InputError, match="another network"):
        train(config(data, out, resume=True), QUIET)
    tensors = load_file(last)
    save_file(tensors, last, metadata={"sfumato_checkpoint": json.dumps({"format": 9, "sha256": "", "position": {}})})
    with pytest.raises(InputError, match="has the format 9"):
        train(config(data, out, resume=True), QUIET)


def test_a_finished_run_whose_model_is_gone_makes_it_again_and_leaves_the_checkpoint_alone(tmp_path, data):
    """As after a kill between the last checkpoint and the model."""
    out = tmp_path / "run"
    train(config(data, out), QUIET)
    weights = (out / "model" / "weights.safetensors").read_bytes()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (out / "checkpoints").iterdir()}
    shutil.rmtree(out / "model")
    train(config(data, out, resume=True), QUIET)
    assert (out / "model" / "weights.safetensors").read_bytes() == weights
    assert before == {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (out / "checkpoints").iterdir()
    }


def test_a_run_from_before_there_were_pointers_goes_on(tmp_path, data, undisturbed):
    out = tmp_path / "run"
    assert run(out, data, resume=False, die="step=8") == -signal.SIGKILL
    (out / "checkpoints" / "latest").unlink()
    assert run(out, data, resume=True) == 0
    assert outcome(out) == undisturbed


def test_what_a_killed_writer_left_is_removed(tmp_path, data):
    out = tmp_path / "run"
    train(config(data, out), QUIET)
    left = [out / "checkpoints" / ".000000000044.0123abcd.tmp.safetensors", out / "samples" / ".x.0123abcd.tmp.png"]
    mine = out / "checkpoints" / ".notes.tmp"
    for path in (*left, mine):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    train(config(data, out, pictures=60, resume=True), QUIET)
    assert not any(path.exists() for path in left)
    assert mine.exists()


def test_a_read_only_folder_is_told_before_the_first_step(tmp_path, data, monkeypatch):
    """Of the superuser, too, who may write wherever permissions are all that forbids it; see also bench/soak.py."""
    out, honest = tmp_path / "run", Path.write_bytes
    train(config(data, out), QUIET)

    def write_bytes(path, content):
        if path.parent == out / "checkpoints":
            raise OSError(errno.EROFS, "Read-only file system")
        return honest(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(InputError, match=r"cannot write into .*checkpoints: Read-only file system"):
        train(config(data, out, pictures=60, resume=True), QUIET)


def test_two_processes_cannot_train_in_one_folder(tmp_path, data):
    from sfumato.training.run_folder import locked

    with locked(tmp_path / "run"), pytest.raises(InputError, match="another process is training"):
        train(config(data, tmp_path / "run"), QUIET)
    train(config(data, tmp_path / "run"), QUIET)


def test_a_log_that_lost_its_end_is_not_filled_with_nothing(tmp_path, data):
    out, said = tmp_path / "run", io.StringIO()
    train(config(data, out), QUIET)
    log = (out / "log.jsonl").read_bytes()
    (out / "log.jsonl").write_bytes(log[:50])
    train(config(data, out, resume=True, pictures=60), Console(file=said, width=200))
    assert b"\x00" not in (out / "log.jsonl").read_bytes()
    assert "bytes of" in said.getvalue()


def test_ctrl_c_saves_says_how_to_go_on_and_changes_nothing(tmp_path, data, capsys):
    """A real SIGINT, in the middle of a step."""
    from sfumato.training import averages

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config(data, whole), QUIET)
    count, honest = [0], averages.Averages.update

    def interrupting(*args):
        count[0] += 1
        if count[0] == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averages.Averages, "update", interrupting)
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
    said = io.StringIO()
    train(config(data, out, pictures=60, resume=True), Console(file=said, width=200))
    assert "pictures was 40 and now is 60" in said.getvalue()
    assert json.loads((out / "config.json").read_text())["pictures"] == 60
    assert json.loads((out / "model" / "model.json").read_text())["training"]["pictures"] == 60
    with pytest.raises(InputError, match="has seen 60 pictures, more than the 40"):
        train(config(data, out, resume=True), QUIET)


def test_refuses_another_config_other_data_or_an_occupied_folder(tmp_path, data):
    out = tmp_path / "run"
    train(config(data, out), QUIET)
    with pytest.raises(InputError, match="already holds a run"):
        train(config(data, out), QUIET)
    with pytest.raises(InputError, match=r"batch was 4 and now is 8"):
        train(config(data, out, batch=8, pictures=60, resume=True), QUIET)
    said = io.StringIO()
    train(config(data, out, lr=2e-3, pictures=48, resume=True), Console(file=said, width=200))
    assert "lr was 0.001 and now is 0.002" in said.getvalue()
    with pytest.raises(InputError, match="holds no run to resume"):
        train(config(data, tmp_path / "none", resume=True), QUIET)
    (out / "data.safetensors").unlink()
    next(data.glob("red/*.png")).rename(data / "blue" / "moved.png")
    with pytest.raises(InputError, match="fingerprint differs"):
        train(config(data, out, lr=2e-3, pictures=60, resume=True), QUIET)
