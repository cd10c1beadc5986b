import numpy as np
import pytest

from exact import SCHEDULES
from sfumato import solvers
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.spacing import SPACINGS, given_times, resampled, spaced_times, times_of_indices, times_of_sigmas


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


CALLS = {  # of S steps, from a first step that is finite in λ, and from pure noise
    "heun": (lambda S: 2 * S - 1, lambda S: 2 * S - 1),
    "edm": (lambda S: 2 * S - 1, lambda S: 2 * S - 1),
    "dpm-solver-2s": (lambda S: 2 * S - 1, lambda S: max(2 * S - 2, 1)),
    "dpm-solver-3s": (lambda S: 3 * S - 2, lambda S: max(3 * S - 4, 1)),
    "dpmpp-2s": (lambda S: 2 * S - 1, lambda S: max(2 * S - 2, 1)),
    "plms": (lambda S: S + (S > 1), lambda S: S + (S > 2)),
}


@pytest.mark.parametrize("name", [name for name in solvers.names() if name != "restart"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_solver_makes_as_many_network_calls_as_it_says(name, spacing):
    for schedule in (SCHEDULES["linear"], SCHEDULES["cosine-zsnr"]):
        for steps in (1, 2, 3, 9, 500):
            table = solvers.get(name, schedule, steps=steps, spacing=spacing)
            kind = int(schedule.alpha(float(table.times[0])) == 0)
            assert table.steps == steps
            assert table.calls == (CALLS[name][kind](steps) if name in CALLS else steps)
            assert len(table.times) == table.calls + 1
            if name != "edm":
                assert (np.diff(table.times) <= 0).all()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_may_end_at_the_least_noise_that_was_trained_on(spacing, schedule):
    for steps in {1, 2, 5, min(30, schedule.steps - 1)}:
        times = spaced_times(schedule, steps, spacing, "sigma-min")
        assert len(times) == steps + 1
        assert times[-1] == 1 / schedule.steps
        assert (np.diff(times) < 0).all()


def test_visible_leaves_out_what_nobody_sees():
    """From pure noise to λ = -5.5 at once, then evenly to λ = 4, then to data; with more steps a wider range."""
    for name in ("cosine-zsnr", "linear", "edm"):
        schedule = SCHEDULES[name]
        times = spaced_times(schedule, 7, "visible")
        log_snr = schedule.log_snr(times[1:-1])
        assert times[0] == 1
        np.testing.assert_allclose(log_snr, np.linspace(-5.5, 4.0, 6), atol=1e-9)
    log_snr = schedule.log_snr(spaced_times(SCHEDULES["edm"], 20, "visible")[1:-1])
    np.testing.assert_allclose(log_snr, np.linspace(-5.5 - 2 * np.log(2), 4 + 2 * np.log(2), 19), atol=1e-9)


def test_published_lists_of_steps():
    """Align Your Steps for Stable Diffusion 1.5; the k-th of T steps lies at (k + 1)/T."""
    schedule = SCHEDULES["scaled-linear"]
    steps = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
    times = times_of_indices(schedule, steps)
    np.testing.assert_allclose(times, [1, 0.851, 0.737, 0.646, 0.546, 0.456, 0.344, 0.234, 0.125, 0.025, 0])
    sigmas = schedule.sigma(times) / schedule.alpha(times)
    np.testing.assert_allclose(times_of_sigmas(schedule, sigmas), times, atol=1e-9)
    np.testing.assert_allclose(resampled(schedule, times, 10), times, atol=1e-9)
    double = resampled(schedule, times, 19)  # every other one is given, between them the mean of log σ
    np.testing.assert_allclose(double[:-1:2], times[:-1], atol=1e-9)
    logs = np.log(schedule.sigma(double[:-1]) / schedule.alpha(double[:-1]))
    np.testing.assert_allclose(logs[1::2], (logs[:-1:2] + logs[2::2]) / 2, atol=1e-9)
    zero = SCHEDULES["cosine-zsnr"]
    assert (np.diff(resampled(zero, [1.0, 0.5, 0.0], 30)) < 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: times_of_indices(s, [999, 1000]), "times lie in"),
        (lambda s: times_of_indices(s, [1, 2]), "fall strictly"),
        (lambda s: times_of_sigmas(s, [1.0, -1.0]), "from 0 upwards"),
        (lambda s: times_of_sigmas(s, [1e9, 0.0]), "below the schedule"),
        (lambda s: resampled(s, [1.0, 0.0], 0), "from 1 to 1000"),
        (lambda s: given_times(["a", "b"]), "list of numbers"),  # type: ignore[list-item]
    ],
)
def test_lists_that_cannot_be(call, message):
    with pytest.raises(InputError, match=message):
        call(SCHEDULES["linear"])


# ---- a lower start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_from_a_lower_start_there_are_as_many_steps(schedule, spacing):
    for start in (0.1, 0.35, 0.7, 0.9999):
        most = int(start * schedule.steps + 1e-9)
        for steps in sorted({1, 2, 5, most - 1, most} & set(range(1, most + 1))):
            times = spaced_times(schedule, steps, spacing, start=start)
            assert len(times) == steps + 1
            assert (np.diff(times) < 0).all()
            assert times[-1] == 0
            assert times[-2] >= 1 / schedule.steps - 1e-12
            assert times[0] == start or (spacing == "leading" and times[0] < start)
        with pytest.raises(InputError, match=f"from 1 to {most} "):
            spaced_times(schedule, most + 1, spacing, start=start)


def test_from_a_lower_start_by_hand():
    schedule = NoiseSchedule.linear()
    assert spaced_times(schedule, 4, "trailing", start=0.6) == pytest.approx([0.6, 0.45, 0.3, 0.15, 0])
    assert spaced_times(schedule, 3, "linspace", start=0.5) == pytest.approx([0.5, 0.2505, 0.001, 0])
    assert spaced_times(schedule, 4, "leading", start=0.6) == pytest.approx([0.451, 0.301, 0.151, 0.001, 0])
    root = np.sqrt(spaced_times(schedule, 3, "quadratic", start=0.5)[:3])
    assert root == pytest.approx(np.linspace(0.5**0.5, 0.001**0.5, 3))
    assert spaced_times(schedule, 3, "trailing", "sigma-min", start=0.3) == pytest.approx([0.3, 0.2, 0.1, 0.001])


@pytest.mark.parametrize("name", ["linear", "edm", "cosine-zsnr"])
def test_a_lower_start_is_uniform_in_the_same_variable(name):
    schedule, start = SCHEDULES[name], 0.6
    low, high = schedule.log_snr(np.array([start, 1 / schedule.steps]))
    log_snr = schedule.log_snr(spaced_times(schedule, 9, "log-snr", start=start)[:-1])
    np.testing.assert_allclose(log_snr, np.linspace(low, high, 9), rtol=1e-6, atol=1e-9)
    karras = np.exp(-schedule.log_snr(spaced_times(schedule, 9, "karras", start=start)[:-1]) / 2) ** (1 / 7)
    np.testing.assert_allclose(karras, np.linspace(np.exp(-low / 14), np.exp(-high / 14), 9), rtol=1e-6)
    visible = schedule.log_snr(spaced_times(schedule, 9, "visible", start=start)[:-1])
    np.testing.assert_allclose(visible, np.linspace(low, 4, 9), rtol=1e-6)


@pytest.mark.parametrize("start", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_starts(start):
    with pytest.raises(InputError, match="a start is a time above 0"):
        spaced_times(SCHEDULES["linear"], 5, "trailing", start=start)
    with pytest.raises(InputError, match=r"leaves no step: the least noise that was trained on is at 0\.001"):
        spaced_times(SCHEDULES["linear"], 1, "trailing", start=0.0005)
