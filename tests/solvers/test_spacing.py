import numpy as np
import pytest

from exact import SCHEDULES
from sfumato import solvers
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.spacing import SPACINGS, given_times, spaced_times


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_as_many_steps_as_asked_for_and_strictly_falling(schedule, spacing):
    last = schedule.steps
    for steps in sorted({1, 2, 3, last - 1, last}):
        times = spaced_times(schedule, steps, spacing)
        assert len(times) == steps + 1
        assert (np.diff(times) < 0).all()
        assert times[-1] == 0
        assert times[-2] >= 1 / last - 1e-12  # nothing below what was trained on
        if spacing != "leading" or steps == last:
            assert times[0] == 1


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_all_steps_are_the_trained_ones(spacing):
    schedule = NoiseSchedule.linear(steps=50)
    np.testing.assert_allclose(spaced_times(schedule, 50, spacing), np.arange(50, -1, -1) / 50, atol=1e-12)


def test_by_hand():
    """For T = 1000 and 20 steps, leading starts at index 950 and trailing at 999 (Lin et al. 2024, table 2)."""
    schedule = NoiseSchedule.linear()
    assert spaced_times(schedule, 20, "leading")[0] == pytest.approx(951 / 1000)
    assert spaced_times(schedule, 20, "trailing")[:2] == pytest.approx([1, 0.95])
    assert spaced_times(schedule, 3, "linspace") == pytest.approx([1, 0.5005, 0.001, 0])
    root = np.sqrt(spaced_times(schedule, 3, "quadratic")[:3])
    assert root[0] - root[1] == pytest.approx(root[1] - root[2])


@pytest.mark.parametrize("name", ["linear", "edm", "cosine-zsnr"])
def test_uniform_in_their_own_variable(name):
    schedule = SCHEDULES[name]
    inner = slice(1 if schedule.terminal_snr == 0 else 0, 9)
    log_snr = schedule.log_snr(spaced_times(schedule, 9, "log-snr"))[inner]
    np.testing.assert_allclose(np.diff(log_snr), np.diff(log_snr)[0], rtol=1e-6)
    karras = np.exp(-schedule.log_snr(spaced_times(schedule, 9, "karras"))[inner] / 2) ** (1 / 7)
    np.testing.assert_allclose(np.diff(karras), np.diff(karras)[0], rtol=1e-6)


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, True, "20"])
def test_refuses_impossible_numbers_of_steps(steps):
    with pytest.raises(InputError, match="whole number from 1 to 1000"):
        spaced_times(SCHEDULES["linear"], steps, "trailing")


def test_names_the_nearest_spacing():
    with pytest.raises(InputError, match="Did you mean 'trailing'"):
        spaced_times(SCHEDULES["linear"], 5, "trialing")


@pytest.mark.parametrize("times", [[1.0], [], [0.5, 0.5, 0], [0.5, 0.6, 0], [1.1, 0], [1, -0.1], [1, float("nan"), 0]])
def test_refuses_impossible_times(times):
    with pytest.raises(InputError):
        given_times(times)


@pytest.mark.parametrize("name", solvers.names())
@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_solver_makes_as_many_network_calls_as_it_says(name, spacing):
    for schedule in (SCHEDULES["linear"], SCHEDULES["cosine-zsnr"]):
        for steps in (1, 2, 3, 999, 1000):
            table = solvers.get(name, schedule, steps=steps, spacing=spacing)
            assert table.steps == steps
            assert table.calls == (2 * steps - 1 if name == "heun" else steps)
            assert (np.diff(table.grid) < 0).all()
