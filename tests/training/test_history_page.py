"""The page of a run: of a real one, and of one in which everything is hostile or broken."""

import json
import re

import pytest

from factory import QUIET, config, pictures
from inert import HOSTILE, Page, is_inert
from sfumato.training.history import read_history
from sfumato.training.history_page import history_page, thinned
from sfumato.training.loop import train


def test_the_page_of_a_run(tmp_path):
    train(config(pictures(tmp_path / "pictures"), tmp_path / "run", sample_every=20), QUIET)
    history = read_history(tmp_path / "run")
    page = Page(history_page(history))
    is_inert(page)
    for text in ("40 of 40 pictures", "It is finished.", "Loss by time", "trivial predictor", "at 20 pictures"):
        assert text in page.text, text
    assert "network.channels" in page.text  # a setting in a group
    loss = history.series("loss")[1]
    assert f"{loss[-1]:.4g}" in page.text
    assert sum(name == "src" for _, name, _ in page.attributes) == 2  # sheets
    rows = [attributes for attributes in page.attributes if attributes[0] == "rect"]
    assert rows


def test_what_comes_from_outside_is_escaped(tmp_path):
    facts = {"data": HOSTILE, "pictures": 100, "objective": {HOSTILE: HOSTILE}}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    line = {"pictures": 10, "loss": 1.0, HOSTILE: 2.0, "warnings": {"a": HOSTILE}}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n{\n")
    page = Page(history_page(read_history(tmp_path)))
    is_inert(page)
    assert page.text.count(HOSTILE) >= 4
    assert f"At 10 pictures: {HOSTILE}" in page.text
    assert "1 lines of log.jsonl cannot be read" in page.text
    assert f"Go on with: sfumato train --out {tmp_path} --resume" in page.text


def test_a_run_without_anything_yet(tmp_path):
    (tmp_path / "config.json").write_text('{"data": "d", "pictures": 5}')
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "000000000001.png").write_bytes(b"half a picture")
    page = Page(history_page(read_history(tmp_path)))
    is_inert(page)
    assert "The log has no line yet." in page.text
    assert "0 of 5 pictures" in page.text
    assert "img" not in page.tags


@pytest.mark.parametrize(("loss", "colour"), [(0.25, "more"), (1.5, "less")])
def test_the_gain_is_the_share_of_the_trivial_loss_that_is_gone(tmp_path, loss, colour):
    """1 - .25/1 = .75; 1 - 1.5/1 = -.5: of another colour. The other bucket has seen no picture."""
    (tmp_path / "config.json").write_text('{"data": "d", "pictures": 5, "objective": {}}')
    means = {"pictures": [2, 0], "loss": [loss, None], "trivial": [1.0, None], "v_error": [loss, None]}
    lines = [{"pictures": seen, "loss": loss, "by_time": means} for seen in (2, 4)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    markup = history_page(read_history(tmp_path))
    cells = re.findall(r'class="cell (\w+)"[^>]*fill-opacity="([\d.]+)"', markup)
    assert cells == [(colour, f"{abs(1 - loss):.2f}")] * 2


def test_long_lines_become_means_within_their_extremes():
    x, y = list(range(1, 1001)), [float(i % 5) for i in range(1000)]
    line = thinned(x, y, "a")
    assert len(line.x) == 200
    assert line.x[0] == 5
    assert line.x[-1] == 1000
    assert (set(line.y), set(line.low), set(line.high)) == ({2.0}, {0.0}, {4.0})
    few = thinned(x[:3], y[:3], "a")
    assert (list(few.x), list(few.y), list(few.low)) == ([1, 2, 3], [0.0, 1.0, 2.0], [])
