import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    "text", ["", "{}", "[1]", '{"name": "a", "spacing": "b", "times": [1], "X": [], "D": [], "S": []}']
)
def test_refuses_what_is_no_table(text):
    with pytest.raises(InputError):
        Table.from_json(text)


def test_is_immutable():
    table = solvers.get("ddim", LINEAR, steps=3)
    with pytest.raises(ValueError, match="read-only"):
        table.X[0, 0] = 1
    with pytest.raises(AttributeError):
        table.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("rows", "times"),
    [
        ([Row([1], [0])], [1, 0.5, 0]),  # a time too many
        ([Row([float("nan")], [0])], [1, 0]),
        ([Row([1, 1], [0])], [1, 0]),  # looks back before the start
        ([Row([1], [0]), Row([1], [0])], [0, 0.5, 1]),  # rising
        ([Row([1], [0])], [2, 0]),
        ([], [1]),
    ],
)
def test_refuses_impossible_tables(rows, times):
    with pytest.raises(InputError):
        Table.from_rows("bad", times, rows, "given")


def test_prints_its_numbers():
    text = str(solvers.get("dpmpp-2m", LINEAR, steps=2))
    assert "2 steps, 2 network calls, spacing log-snr" in text
    assert "1.00000" in text


def constant_picture(table, schedule, picture=0.7):
    """Run a deterministic table for a denoiser that always says `picture`, from the x that carries noise 1."""
    t = float(table.times[0])
    points, pictures = [schedule.alpha(t) * picture + schedule.sigma(t)], []
    for x_row, d_row in zip(table.X, table.D, strict=True):
        pictures.insert(0, picture)
        points.insert(0, sum(x_row[: len(points)] * points[: len(x_row)]) + sum(d_row[: len(pictures)] * picture))
    return points[0]


@pytest.mark.parametrize("name", [n for n in solvers.names() if not solvers.get(n, LINEAR, steps=3).stochastic])
@given(
    steps=st.integers(1, 30), spacing=st.sampled_from(list(solvers.SPACINGS)), schedule=st.sampled_from(list(SCHEDULES))
)
def test_a_constant_picture_is_carried_exactly(name, steps, spacing, schedule):
    """With x̂0 constant the exact ODE has x_t = α_t·x̂0 + σ_t·ε with ε fixed, and every solver must keep to it."""
    s = SCHEDULES[schedule]
    table = solvers.get(name, s, steps=min(steps, s.steps), spacing=spacing)
    assert constant_picture(table, s) == pytest.approx(0.7, abs=1e-7)
    inner = solvers.get(name, s, times=[*table.grid[:-1], table.grid[-2] / 2])
    end = float(inner.times[-1])
    assert constant_picture(inner, s) == pytest.approx(s.alpha(end) * 0.7 + s.sigma(end), rel=1e-7)


@pytest.mark.parametrize("name", solvers.names())
def test_the_last_step_lands_on_the_denoised_picture(name):
    for schedule in SCHEDULES.values():
        table = solvers.get(name, schedule, steps=5)
        assert np.array_equal(table.X[-1], np.zeros(table.window))
        assert table.D[-1, 0] == 1
        assert not table.D[-1, 1:].any()
        assert table.S[-1] == 0
