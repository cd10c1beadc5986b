import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exact import SCHEDULES
from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
class TestEvery:
    def test_starts_at_data_exactly(self, schedule):
        assert (schedule.alpha(0.0), schedule.sigma(0.0), schedule.log_snr(0.0)) == (1.0, 0.0, math.inf)

    def test_log_snr_falls_strictly_between_the_steps_too(self, schedule):
        t = np.linspace(0, 1, 7 * schedule.steps + 1)
        assert (np.diff(schedule.log_snr(t)[1:]) < 0).all()

    def test_variance_is_preserved_or_alpha_is_one(self, schedule):
        t = np.linspace(0, 1, 1001)
        a, s = schedule.alpha(t), schedule.sigma(t)
        np.testing.assert_allclose(a**2 + s**2 if schedule.variance_preserving else a, 1, rtol=1e-12)
        finite = (t > 0) & np.isfinite(schedule.log_snr(t))
        np.testing.assert_allclose(np.log(a[finite] ** 2 / s[finite] ** 2), schedule.log_snr(t)[finite], atol=1e-9)

    def test_time_inverts_log_snr(self, schedule):
        t = np.r_[0, 1e-6, np.linspace(1e-4, 1, 2003)]
        np.testing.assert_allclose(schedule.time(schedule.log_snr(t)), t, atol=1e-12)

    def test_floats_arrays_and_tensors_agree(self, schedule):
        t = np.linspace(0, 1, 77)
        for f in (schedule.alpha, schedule.sigma, schedule.log_snr):
            whole = f(t)
            assert whole.dtype == np.float64
            assert [f(float(x)) for x in t] == pytest.approx(
                whole.tolist(), rel=1e-13, abs=1e-13
            )  # SIMD rounds the last bit
            assert torch.equal(f(torch.from_numpy(t)), torch.from_numpy(whole))
            assert f(torch.tensor(0.5)).dtype == torch.float32

    @pytest.mark.parametrize("t", [-1e-9, 1.0000001, math.nan])
    def test_refuses_times_outside(self, schedule, t):
        with pytest.raises(InputError, match=r"times lie in \[0, 1\]"):
            schedule.alpha(t)


def test_linear_is_the_product_of_one_minus_beta():
    """ᾱ_t = Π(1 - β_s), multiplied out one by one in exact fractions of the double β."""
    from fractions import Fraction

    schedule = NoiseSchedule.linear()
    betas = [Fraction(b) for b in np.linspace(1e-4, 2e-2, 1000).tolist()]
    product = Fraction(1)
    for i, beta in enumerate(betas[:60]):
        product *= 1 - beta
        t = (i + 1) / 1000
        assert schedule.alpha(t) ** 2 == pytest.approx(float(product), rel=1e-13)
        assert schedule.sigma(t) ** 2 == pytest.approx(float(1 - product), rel=1e-12)


def test_scaled_linear_has_the_known_terminal_leak():
    """√ᾱ_T of Stable Diffusion is 0.0682, of Ho's linear schedule 0.0064 (Lin et al. 2024, section 3.1)."""
    assert NoiseSchedule.scaled_linear().alpha(1.0) == pytest.approx(0.068265, abs=1e-6)
    assert NoiseSchedule.linear().alpha(1.0) == pytest.approx(0.00635, abs=1e-5)


def test_cosine_follows_its_formula_where_beta_is_not_cut():
    schedule = NoiseSchedule.cosine()
    f = lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2  # noqa: E731
    for t in (0.001, 0.25, 0.5, 0.9, 0.998):
        assert schedule.alpha(t) ** 2 == pytest.approx(f(t) / f(0), rel=1e-9)
    assert schedule.alpha(1.0) ** 2 == pytest.approx(schedule.alpha(0.999) ** 2 * 0.001, rel=1e-9)  # β cut at 0.999


def test_sigmoid_is_symmetric():
    """ᾱ(t) + ᾱ(1 - t) = 1 for start = -end."""
    schedule = NoiseSchedule.sigmoid()
    for t in (0.1, 0.25, 0.4):
        assert schedule.alpha(t) ** 2 + schedule.alpha(1 - t) ** 2 == pytest.approx(1, abs=1e-9)


def test_edm_spans_its_range():
    schedule = NoiseSchedule.edm(0.01, 50.0, rho=5, steps=11)
    assert schedule.sigma(1 / 11) == pytest.approx(0.01)
    assert schedule.sigma(1.0) == pytest.approx(50.0)
    assert schedule.sigma(6 / 11) == pytest.approx(((0.01**0.2 + 50**0.2) / 2) ** 5)
    assert schedule.prior_scale() == pytest.approx(50.0)


def test_between_steps_log_snr_is_linear():
    schedule = NoiseSchedule.linear(steps=10)
    middle = schedule.log_snr(0.35)
    assert middle == pytest.approx((schedule.log_snr(0.3) + schedule.log_snr(0.4)) / 2, abs=1e-12)


def test_first_and_last_interval_run_to_the_ends():
    schedule = NoiseSchedule.linear(steps=10).zero_terminal_snr()
    ratio = lambda t: schedule.sigma(t) / schedule.alpha(t)  # noqa: E731
    assert ratio(0.05) == pytest.approx(ratio(0.1) / 2)
    assert 1 / ratio(0.95) == pytest.approx(1 / ratio(0.9) / 2)


def test_zero_terminal_snr():
    before = NoiseSchedule.linear()
    after = before.zero_terminal_snr()
    assert (after.alpha(1.0), after.sigma(1.0), after.terminal_snr) == (0.0, 1.0, 0.0)
    assert after.alpha(0.001) == pytest.approx(before.alpha(0.001), rel=1e-12)
    first, last = before.alpha(0.001), before.alpha(1.0)
    for t in (0.2, 0.5, 0.9):  # √ᾱ is moved affinely
        assert after.alpha(t) == pytest.approx((before.alpha(t) - last) * first / (first - last), rel=1e-9)
    assert after.zero_terminal_snr() is after
    assert before.terminal_snr > 0  # the old one is as it was


def test_any_table_and_its_errors():
    schedule = NoiseSchedule.from_alphas_bar([0.9, 0.5, 0.0])
    assert schedule.alpha(2 / 3) ** 2 == pytest.approx(0.5)
    for bad in ([], [0.5, 0.5], [0.5, 0.6], [1.0, 0.5], [0.5, math.nan], [[0.5]], [0.0]):
        with pytest.raises(InputError):
            NoiseSchedule.from_alphas_bar(bad)  # type: ignore[arg-type]
    for make in (
        lambda: NoiseSchedule.linear(steps=0),
        lambda: NoiseSchedule.linear(steps=2.5),  # type: ignore[arg-type]
        lambda: NoiseSchedule.linear(beta_end=1.0),
        lambda: NoiseSchedule.edm(2, 1),
        lambda: NoiseSchedule.edm().zero_terminal_snr(),
        lambda: NoiseSchedule.linear(steps=1).zero_terminal_snr(),
        lambda: ScheduleConfig(name="cosinus").build(),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError):
            make()


def test_is_immutable():
    with pytest.raises(ValueError, match="read-only"):
        NoiseSchedule.linear().log_snr_knots[0] = 0


@given(st.lists(st.floats(1e-4, 0.5), min_size=2, max_size=40))
def test_any_betas_make_a_schedule_that_inverts(betas):
    schedule = NoiseSchedule.from_betas(np.array(betas))
    t = np.linspace(0, 1, 3 * len(betas) + 1)
    np.testing.assert_allclose(schedule.time(schedule.log_snr(t)), t, atol=1e-9)
    np.testing.assert_allclose(schedule.alpha(t[3::3]) ** 2, np.cumprod(1 - np.array(betas)), rtol=1e-9)


def test_gradient_flows_through_a_time():
    """A time can be learned: dλ/dt between two steps is their difference times T."""
    schedule = NoiseSchedule.linear(steps=10).zero_terminal_snr()
    t = torch.tensor([0.35, 0.95], dtype=torch.float64, requires_grad=True)
    schedule.log_snr(t).sum().backward()
    assert t.grad is not None
    assert t.grad[0].item() == pytest.approx(10 * (schedule.log_snr(0.4) - schedule.log_snr(0.3)))
    assert t.grad[1].item() == pytest.approx(-2 / (1 - 0.95))
