"""Every row of every table carries a constant picture exactly, and notices when one of its numbers is 1 % off."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exact import SCHEDULES
from sfumato import solvers
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.solvers.table import Table

OPTIONS = {  # what makes a stochastic solver keep the exact law; the rest do so by themselves
    "edm": {"s_noise": 1.0},
}
VARIANTS = [
    *[(name, OPTIONS.get(name, {})) for name in solvers.names()],
    ("ddim", {"eta": 0.5}),
    ("ancestral-euler", {"eta": 0.5}),
    ("sde-dpmpp-2m", {"eta": 0.5}),
    ("sde-dpmpp-3m", {"eta": 0.5}),
    ("plms", {"warmup": "rk"}),
    ("unipc-1", {"variant": "bh1"}),
    ("unipc-2", {"variant": "bh1"}),
    ("unipc-3", {"corrector": "off"}),
    ("unipc-3", {"lower_order_final": False}),
    ("deis-3", {"variable": "log-rho"}),
    ("deis-2", {"lower_order_final": False}),
    ("ab", {"prediction": "x0"}),
    ("ab", {"prediction": "eps", "lower_order_final": True}),
    ("lms", {"order": 2}),
    ("dpmpp-3m", {"lower_order_final": False}),
    ("restart", {"low": 0.5, "high": 2.0, "repeats": 1, "inner": 1}),
]
ROUNDING = 1e-11
STEPS = [1, 2, 3, 4, 5, 6, 7, 8, 20, 50]


def faults(table: Table, schedule: NoiseSchedule) -> float:
    """The largest error of a row where x̂0 is constant, relative to the size of its terms.

    Then x_t = α_t·x̂0 + σ_t·ε at every time, ε shared by the points that a row looks back to, and the row must lead to
    α_s·x̂0 + σ_s·ε', ε' of variance 1: of ε and of fresh noise.
    """
    alpha = np.array([schedule.alpha(float(t)) for t in table.times])
    sigma = np.array([schedule.sigma(float(t)) for t in table.times])
    worst = 0.0
    for i, (x, d, s) in enumerate(zip(table.X, table.D, table.S, strict=True)):
        looked = np.arange(i, max(i - table.window, -1), -1)
        of_picture = x[: len(looked)] @ alpha[looked] + d.sum()
        of_noise = x[: len(looked)] @ sigma[looked]
        terms = np.abs(x[: len(looked)]) @ np.hypot(alpha, sigma)[looked] + np.abs(d).sum()
        size = max(math.hypot(alpha[i + 1], sigma[i + 1]), terms)
        worst = max(worst, abs(of_picture - alpha[i + 1]) / size)
        if s:
            worst = max(worst, abs(math.hypot(of_noise, s) - sigma[i + 1]) / size, -of_noise)
        else:
            worst = max(worst, abs(of_noise - sigma[i + 1]) / size)
    return worst


def made(name, schedule, **how) -> Table:
    try:
        return solvers.get(name, schedule, **how)
    except InputError:
        assume(name != "restart")  # which needs times on both sides of its levels
        raise


@st.composite
def schedules(draw) -> NoiseSchedule:
    """Named ones, and any that add noise at every step; some end in pure noise."""
    if draw(st.booleans()):
        return SCHEDULES[draw(st.sampled_from(list(SCHEDULES)))]
    betas = draw(st.lists(st.floats(1e-4, 0.3), min_size=3, max_size=60))
    schedule = NoiseSchedule.from_betas(np.array(betas))
    return schedule.zero_terminal_snr() if draw(st.booleans()) else schedule


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@settings(max_examples=25)
@given(schedule=schedules(), steps=st.sampled_from(STEPS), spacing=st.sampled_from(list(solvers.SPACINGS)))
def test_a_constant_picture_is_carried_exactly(name, options, schedule, steps, spacing):
    table = made(name, schedule, steps=min(steps, schedule.steps), spacing=spacing, **options)
    assert faults(table, schedule) < ROUNDING


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_constant_picture_is_carried_exactly_by_all_thousand_steps(name, options):
    table = solvers.get(name, SCHEDULES["cosine-zsnr"], steps=1000, **options)
    assert faults(table, SCHEDULES["cosine-zsnr"]) < ROUNDING


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_one_percent_in_any_number_is_noticed(name, options):
    for schedule in (SCHEDULES["linear"], SCHEDULES["cosine-zsnr"]):
        table = solvers.get(name, schedule, steps=7, **options)
        for part in ("X", "D", "S"):
            for place in zip(*np.nonzero(getattr(table, part)), strict=True):
                changed = getattr(table, part).copy()
                changed[place] *= 1.01
                assert faults(dataclasses.replace(table, **{part: changed}), schedule) > ROUNDING, (part, place)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ["linear", "cosine-zsnr", "edm"])
def test_adams_in_v_carries_a_constant_velocity_exactly(order, schedule):
    """With v̂ constant, x/r moves along a straight line in the angle; a constant picture it carries only nearly."""
    s = SCHEDULES[schedule]
    table = solvers.get("ab", s, steps=9, prediction="v", order=order)
    alpha, sigma = (np.array([f(float(t)) for t in table.times]) for f in (s.alpha, s.sigma))
    norm, angle = np.hypot(alpha, sigma), np.arctan2(sigma, alpha)
    x = norm * (0.3 + 0.7 * (angle - angle[0]))
    picture = (alpha * x - sigma * norm * 0.7) / norm**2  # x̂0 of x and v̂ = 0.7
    for i in range(table.calls):
        looked = np.arange(i, max(i - table.window, -1), -1)
        got = table.X[i, : len(looked)] @ x[looked] + table.D[i, : len(looked)] @ picture[looked]
        assert got == pytest.approx(x[i + 1], abs=1e-9)


FIRST = ("dd", "eu", "anc", "heun", "edm", "dpm", "sde", "unipc", "er", "lcm")  # how the names begin
LANDING = [variant for variant in VARIANTS if variant[0].startswith(FIRST)]


@pytest.mark.parametrize(("name", "options"), LANDING)
def test_the_last_step_lands_on_the_denoised_picture(name, options):
    """Where x̂0 is interpolated in ℓ, or the last step is of first order. Other solvers extrapolate ε̂ to the end."""
    for schedule in SCHEDULES.values():
        table = solvers.get(name, schedule, steps=5, **options)
        assert np.array_equal(table.X[-1], np.zeros(table.window))
        assert table.D[-1, 0] == pytest.approx(1, abs=1e-12)
        assert not table.D[-1, 1:].any()
        assert table.S[-1] == 0
