import numpy as np
import pytest
import torch

from exact import SCHEDULES, doubles
from sfumato.diffusion.forward import noisy, posterior, transition
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.seeds import noise

TIMES = [(0.001, 0.01), (0.1, 0.4), (0.5, 0.9), (0.97, 1.0), (0.2005, 0.7777)]


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
class TestEvery:
    def test_noisy_has_the_mean_and_variance_of_q(self, schedule):
        x0, draws = torch.full((200_000,), 0.7), noise([1], (200_000,))[0]
        xt = noisy(schedule, x0, 0.4, draws)
        alpha, sigma = schedule.alpha(0.4), schedule.sigma(0.4)
        assert xt.mean().item() == pytest.approx(alpha * 0.7, abs=5 * sigma / 200_000**0.5)
        assert xt.std().item() == pytest.approx(sigma, rel=0.01)

    @pytest.mark.parametrize(("s", "t"), TIMES)
    def test_two_steps_compose_to_one(self, schedule, s, t):
        """q(x_t|x_s) after q(x_s|x_0) is q(x_t|x_0): means multiply, variances add up."""
        alpha, sigma = transition(schedule, s, t)
        assert alpha * schedule.alpha(s) == pytest.approx(schedule.alpha(t), abs=1e-12)
        assert alpha**2 * schedule.sigma(s) ** 2 + sigma**2 == pytest.approx(schedule.sigma(t) ** 2, rel=1e-9)

    @pytest.mark.parametrize(("s", "t"), TIMES)
    def test_posterior_is_bayes_rule(self, schedule, s, t):
        """q(x_s|x_t,x_0) ∝ q(x_t|x_s)·q(x_s|x_0), summed on a fine grid of x_s."""
        x0, xt = 0.4, 0.1 + schedule.alpha(t) * 0.4
        alpha, sigma = transition(schedule, s, t)
        sigma_s = schedule.sigma(s)
        mean, variance = posterior(
            schedule, torch.tensor([x0], dtype=torch.float64), torch.tensor([xt], dtype=torch.float64), t, s
        )
        width = 12 * variance**0.5
        grid = np.linspace(mean.item() - width, mean.item() + width, 20_001)
        log_density = -((xt - alpha * grid) ** 2) / (2 * sigma**2) - (grid - schedule.alpha(s) * x0) ** 2 / (
            2 * sigma_s**2
        )
        density = np.exp(log_density - log_density.max())
        density /= density.sum()
        expected = (density * grid).sum()
        assert mean.item() == pytest.approx(expected, abs=1e-6 * (1 + abs(expected)))
        assert variance == pytest.approx((density * (grid - expected) ** 2).sum(), rel=1e-6)

    def test_posterior_at_the_end_is_the_picture(self, schedule):
        x0, xt = doubles(3, 2), doubles(3, 2, seed=1)
        mean, variance = posterior(schedule, x0, xt, 0.3, 0.0)
        assert torch.equal(mean, x0)
        assert variance == 0


def test_equals_the_textbook_form_on_discrete_steps():
    """Ho et al. 2020, eq. 7, in β and ᾱ: written out here, with nothing of the schedule's own formulas."""
    betas = np.linspace(1e-4, 2e-2, 1000)
    bar = np.cumprod(1 - betas)
    schedule = SCHEDULES["linear"]
    x0, xt = doubles(4), doubles(4, seed=1)
    for i in (1, 10, 500, 999):
        mean, variance = posterior(schedule, x0, xt, (i + 1) / 1000, i / 1000)
        a = np.sqrt(1 - betas[i]) * (1 - bar[i - 1]) / (1 - bar[i])
        b = np.sqrt(bar[i - 1]) * betas[i] / (1 - bar[i])
        torch.testing.assert_close(mean, a * xt + b * x0, rtol=1e-9, atol=1e-12)
        assert variance == pytest.approx(betas[i] * (1 - bar[i - 1]) / (1 - bar[i]), rel=1e-9)


def test_a_time_for_each_picture():
    diffusion = Diffusion(SCHEDULES["cosine-zsnr"])
    x0, eps = doubles(3, 2, 4, 4), doubles(3, 2, 4, 4, seed=1)
    t, s = torch.tensor([0.2, 0.5, 1.0]).double(), torch.tensor([0.1, 0.0, 0.9]).double()
    xt = diffusion.noisy(x0, t, eps)
    mean, variance = diffusion.posterior(x0, xt, t, s)
    assert isinstance(variance, torch.Tensor)
    for i in range(3):
        one = diffusion.noisy(x0[i : i + 1], t[i].item(), eps[i : i + 1])
        torch.testing.assert_close(xt[i : i + 1], one)
        m, v = diffusion.posterior(x0[i : i + 1], one, t[i].item(), s[i].item())
        torch.testing.assert_close(mean[i : i + 1], m)
        assert variance[i].item() == pytest.approx(v)


@pytest.mark.parametrize(("s", "t"), [(0.5, 0.5), (0.6, 0.5)])
def test_forward_and_reverse_cannot_be_confused(s, t):
    with pytest.raises(InputError, match="earlier time s must lie below t"):
        posterior(SCHEDULES["linear"], torch.zeros(1), torch.zeros(1), t, s)
