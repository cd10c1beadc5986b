import json

import pytest

from exact import SCHEDULES
from sfumato import solvers
from sfumato.errors import InputError
from sfumato.solvers.table import Row, Table

LINEAR = SCHEDULES["linear"]


@pytest.mark.parametrize("name", solvers.names())
def test_json_keeps_every_bit(name):
    table = solvers.get(name, LINEAR, steps=7)
    again = Table.from_json(table.to_json())
    assert again == table
    assert hash(again) == hash(table)
    assert table != solvers.get(name, LINEAR, steps=8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"name": "a", "spacing": "b", "steps": 1, "times": [1], "X": [], "D": [], "S": []}',
        "[" * 99999,
    ],
)
def test_refuses_what_is_no_table(text):
    with pytest.raises(InputError):
        Table.from_json(text)


@pytest.mark.parametrize("steps", ["3", 0, 4, 2.5, None, True])
def test_refuses_a_number_of_steps_that_cannot_be(steps):
    facts = json.loads(solvers.get("ddim", LINEAR, steps=3).to_json())
    with pytest.raises(InputError, match="steps are a whole number"):
        Table.from_json(json.dumps({**facts, "steps": steps}))


def test_is_immutable():
    table = solvers.get("ddim", LINEAR, steps=3)
    with pytest.raises(ValueError, match="read-only"):
        table.X[0, 0] = 1
    with pytest.raises(AttributeError):
        table.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("rows", "end"),
    [
        ([Row(1, [float("nan")], [0])], 0),
        ([Row(1, [1, 1], [0])], 0),  # looks back before the start
        ([Row(1, [1], [0]), Row(0.2, [1], [0]), Row(0.5, [1], [0])], 0),  # rises without noise
        ([Row(0.5, [1], [0], 1.0), Row(0.6, [1], [0], 1.0)], 1),  # draws noise on the way to noise, and ends there
        ([Row(2, [1], [0])], 0),
        ([Row(1, [1], [0])], -0.1),
        ([Row(1, [1] * 17, [0])], 0),
        ([], 1),
    ],
)
def test_refuses_impossible_tables(rows, end):
    with pytest.raises(InputError):
        Table.from_rows("bad", rows, end, max(len(rows), 1), "given")


def test_may_go_back_up_where_noise_is_added_and_upwards_throughout():
    restart = Table.from_rows("restart", [Row(0.5, [1], [0], 0.3), Row(1, [1], [0])], 0, 1, "given")
    assert restart.times.tolist() == [0.5, 1, 0]
    assert restart.stochastic
    upwards = Table.from_rows("inversion", [Row(0.1, [1], [0]), Row(0.5, [1], [0])], 1, 2, "given")
    assert upwards.times.tolist() == [0.1, 0.5, 1]
    assert (upwards.steps, upwards.calls, upwards.stochastic) == (2, 2, False)


def test_prints_its_numbers():
    text = str(solvers.get("dpmpp-2m", LINEAR, steps=2))
    assert "2 steps, 2 network calls, spacing visible" in text
    assert "1.00000" in text
