"""TensorBoard is shown what the log says, over interruptions; it is asked for, or never touched."""

import json
import sys

import pytest

from factory import QUIET, config, pictures
from sfumato.errors import InputError
from sfumato.training.board import Board, check_board
from sfumato.training.loop import train

pytest.importorskip("tensorboard")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


def shown(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(out / "tensorboard")).Reload()


def test_it_shows_what_the_log_says_and_goes_on_with_a_run(tmp_path, data):
    """A run of 40 pictures that went on to 56: what the first sitting said of 32 and 40 stands once."""
    out = tmp_path / "run"
    train(config(data, out, tensorboard=True, sample_every=20), QUIET)
    train(config(data, out, tensorboard=True, sample_every=20, pictures=56, resume=True), QUIET)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    events = shown(out)
    for name in ("loss", "grad_norm", "lr", "rate", "memory_mb"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(line["pictures"], pytest.approx(line[name], rel=1e-6)) for line in lines]
    assert [line["pictures"] for line in lines] == [8, 16, 24, 32, 40, 48, 56]
    for bucket, name in ((0, "0-0.1"), (9, "0.9-1")):
        expected = [(e["pictures"], e["by_time"]["loss"][bucket]) for e in lines]
        found = [(event.step, event.value) for event in events.Scalars(f"loss_by_time/{name}")]
        assert found == [(n, pytest.approx(loss, rel=1e-6)) for n, loss in expected if loss is not None]
    sheets = events.Images("samples")
    assert [(sheet.step, sheet.width, sheet.height) for sheet in sheets] == [(n, 52, 52) for n in (20, 40, 56)]


def test_warnings_are_shown_and_what_a_cut_off_sitting_wrote_is_hidden(tmp_path):
    cfg = config("", tmp_path, tensorboard=True)
    first = Board(cfg, 0)
    first.line({"pictures": 10, "loss": 1.0})
    first.line({"pictures": 20, "loss": 2.0, "warnings": {"loss": "the loss is above"}})
    first.line({"pictures": 30, "loss": 3.0, "model": "not a number"})
    first.close()
    second = Board(cfg, 20)
    second.line({"pictures": 25, "loss": 2.5})
    second.close()
    events = shown(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(10, 1), (20, 2), (25, 2.5)]
    (text,) = events.Tensors("warnings/loss/text_summary")
    assert text.tensor_proto.string_val[0] == b"the loss is above"


def test_without_tensorboard_it_is_told_before_anything_else_and_nobody_else_needs_it(tmp_path, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'sfumato\[tensorboard\]'"):
        train(config(data, tmp_path / "run", tensorboard=True), QUIET)
    assert not (tmp_path / "run" / "config.json").exists()
    check_board(config(data, tmp_path / "run"))
    train(config(data, tmp_path / "run", pictures=8), QUIET)
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_run_may_begin_to_show_itself_later(tmp_path, data):
    out = tmp_path / "run"
    train(config(data, out), QUIET)
    train(config(data, out, pictures=48, resume=True, tensorboard=True), QUIET)
    assert [event.step for event in shown(out).Scalars("loss")] == [48]
