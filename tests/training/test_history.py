"""What a run's folder tells, of folders written by hand. Of a trained one: test_history_page."""

import fcntl
import json

import pytest

from sfumato.errors import InputError
from sfumato.training.history import read_history

BY_TIME = {"pictures": [1, 0], "loss": [0.5, None], "trivial": [1.0, None], "v_error": [0.5, None]}


def folder(tmp_path, *lines, **config):
    (tmp_path / "config.json").write_text(json.dumps({"data": "d", "pictures": 100, "objective": {}, **config}))
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (tmp_path / "log.jsonl").write_text("".join(f"{text}\n" for text in texts))
    return tmp_path


def test_lines_that_are_none_are_left_out_and_counted(tmp_path):
    bad = ['{"pictures": 30, "lo', "", "[1]", '{"loss": 3}', '{"pictures": "40"}', '{"pictures": true}', "\0" * 9]
    run = read_history(folder(tmp_path, {"pictures": 10, "loss": 2.0}, *bad, {"pictures": 50, "loss": 1}))
    assert run.series("loss") == ([10, 50], [2.0, 1.0])
    assert run.unreadable == len(bad)
    assert (run.seen, run.asked, run.going, run.verb) == (50, 100, False, "train")


def test_numbers_that_are_none_are_left_out(tmp_path):
    lines = [{"pictures": i, "loss": value} for i, value in enumerate((1.5, float("nan"), float("inf"), None, "2"), 1)]
    run = read_history(folder(tmp_path, *lines, {"pictures": 9}))
    assert run.series("loss") == ([1], [1.5])
    assert run.series("nothing") == ([], [])


def test_losses_by_time_and_warnings(tmp_path):
    odd = [{}, 3, {**BY_TIME, "loss": []}, {**BY_TIME, "loss": [1.0]}, {**BY_TIME, "trivial": ["a", None]}]
    lines = [{"pictures": i, "by_time": value} for i, value in enumerate([*odd, BY_TIME], 1)]
    run = read_history(folder(tmp_path, *lines, {"pictures": 7, "warnings": {"average": "too long"}}))
    assert run.by_time() == [(6, BY_TIME)]
    assert list(run.warnings()) == [(7, "too long")]
    assert list(read_history(folder(tmp_path, {"pictures": 7, "warnings": ["x"]})).warnings()) == []


def test_a_run_of_which_only_a_checkpoint_tells(tmp_path):
    (folder(tmp_path) / "log.jsonl").unlink()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "000000000060.safetensors").touch()
    assert read_history(tmp_path).seen == 60


def test_a_run_that_is_going_on(tmp_path):
    run = folder(tmp_path)
    with open(run / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read_history(run).going
    assert not read_history(run).going


def test_sheets_in_order_and_what_the_model_says(tmp_path):
    run = folder(tmp_path)
    (run / "samples").mkdir()
    for name in ("000000000020.png", "000000000010.png", "mine.png", "000000000030.txt"):
        (run / "samples" / name).touch()
    assert [seen for seen, _ in read_history(run).sheets] == [10, 20]
    (run / "model").mkdir()
    for text, facts in (('{"training": {"seconds": 5}}', {"seconds": 5}), ("{}", {}), ("[]", {}), ("{", {})):
        (run / "model" / "model.json").write_text(text)
        assert read_history(run).facts == facts


def test_an_autoencoder_is_gone_on_with_by_its_own_command(tmp_path):
    (tmp_path / "config.json").write_text('{"data": "d", "pictures": 5}')
    assert read_history(tmp_path).verb == "train-autoencoder"


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "holds no run"), ("{", "config.json"), ("[]", "config.json"), ("{}", "how many pictures")],
)
def test_folders_without_a_run(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_history(tmp_path)
    with pytest.raises(InputError, match="holds no run"):
        read_history(tmp_path / "nowhere")
