"""A learned variance, against the textbook's formulas in β and ᾱ and torch's divergence between normals."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from exact import SCHEDULES, Gaussian, doubles
from sfumato.diffusion.bound import variational_bound
from sfumato.diffusion.decoder import decoder_log_prob
from sfumato.diffusion.learned import bound_terms, check_learned, log_variance
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError

BITS = 1 / math.log(2)
SHORT = SCHEDULES["short"]
BETAS = np.linspace(0.05, 0.5, 10)
BAR = np.cumprod(1 - BETAS)
TILDE = BETAS[1:] * (1 - BAR[:-1]) / (1 - BAR[1:])  # of steps 2 … T
X0 = (127.5 * (1.1 + 0.25 * doubles(10, 2, 4))).round().clamp(0, 255) / 127.5 - 1
T = torch.arange(1, 11, dtype=torch.float64) / 10


def log_p(kind: str, raw: torch.Tensor) -> torch.Tensor:
    """Of pictures 0 … 9 at steps 1 … 10, as Nichol & Dhariwal's code has it."""
    if kind == "free":
        return raw
    low = np.log(np.concatenate([TILDE[:1], TILDE]))  # β̃_1 is 0; theirs takes β̃_2
    low, high = (torch.from_numpy(v)[:, None, None] for v in (low, np.log(BETAS)))
    share = (raw + 1) / 2
    return share * high + (1 - share) * low


@pytest.mark.parametrize("kind", ["free", "interpolated"])
def test_terms_are_the_divergences_between_two_gaussians(kind):
    raw = 0.3 * doubles(10, 2, 4, seed=3) - (3 if kind == "free" else 0)
    bar, beta = torch.from_numpy(BAR)[:, None, None], torch.from_numpy(BETAS)[:, None, None]
    xt = bar.sqrt() * X0 + (1 - bar).sqrt() * doubles(10, 2, 4, seed=1)
    guess = X0 + 0.1 * doubles(10, 2, 4, seed=2)
    before = torch.cat([torch.ones(1, 1, 1), bar[:-1]])
    a, b = (1 - beta).sqrt() * (1 - before) / (1 - bar), before.sqrt() * beta / (1 - bar)
    std, tilde = torch.exp(log_p(kind, raw) / 2), (beta * (1 - before) / (1 - bar)).sqrt()
    nats = kl_divergence(Normal(a * xt + b * X0, tilde.clamp(min=1e-9)), Normal(a * xt + b * guess, std))
    nats[0] = -decoder_log_prob(X0[:1], guess[:1], std[:1])[0]
    got = bound_terms(kind, SHORT, X0, guess, raw, T)
    torch.testing.assert_close(got, BITS * nats.mean((1, 2)), rtol=1e-10, atol=1e-12)


def test_their_sum_is_the_bound():
    """Of one picture at all steps, at the very x_t that `variational_bound` draws."""
    truth, x0 = Gaussian(SHORT), X0[:1]
    raw = lambda t: torch.full((1, 2, 4), 2 * t - 1.5, dtype=torch.float64)  # noqa: E731
    interpolated = lambda t: log_variance("interpolated", SHORT, raw(t), round(t - 0.1, 9), t, (0.1, 0.2))  # noqa: E731
    guesses = []

    def denoise(x: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        guesses.append(truth.denoise(x, t))
        return guesses[-1], interpolated(t)

    whole = variational_bound(SHORT, denoise, x0, [4], variance="learned")
    raws = torch.cat([raw(float(t)) for t in T.flip(0)])
    got = bound_terms("interpolated", SHORT, x0.expand(10, 2, 4), torch.cat(guesses), raws, T.flip(0))
    torch.testing.assert_close(got, whole.terms[0])


def test_the_best_variance_is_what_is_unknown():
    """d/dv of E[KL] is 0 at v = v_q + b²·E(x_0 - x̂0)²: the law of total variance."""
    error = torch.full((1, 2, 4), 0.2, dtype=torch.float64)
    b, v = BAR[4] ** 0.5 * BETAS[5] / (1 - BAR[5]), TILDE[4]
    raw = torch.full((1, 2, 4), math.log(v + b**2 * 0.04), dtype=torch.float64, requires_grad=True)
    bound_terms("free", SHORT, X0[:1], X0[:1] + error, raw, torch.tensor([0.6])).sum().backward()
    assert raw.grad is not None
    assert raw.grad.abs().max() < 1e-14


@pytest.mark.parametrize("kind", ["free", "interpolated"])
@pytest.mark.parametrize("level", [-30.0, -1.0, 0.0, 1.0, 8.0])
def test_gradients_stay_finite(kind, level):
    raw = torch.full((10, 2, 4), level, requires_grad=True)
    guess = (X0.float() + 0.5).requires_grad_()
    bound_terms(kind, SHORT, X0.float(), guess, raw, T).sum().backward()
    assert raw.grad is not None
    assert guess.grad is not None
    assert raw.grad.isfinite().all()
    assert guess.grad.isfinite().all()


def test_single_precision_and_pure_noise():
    schedule = SCHEDULES["cosine-zsnr"]
    t, raw = torch.tensor([0.001, 0.002, 0.5, 1.0]), 0.2 * doubles(4, 2, 4, seed=5)
    guess = X0[:4] + 0.1 * doubles(4, 2, 4, seed=6)
    double = bound_terms("interpolated", schedule, X0[:4], guess, raw, t)
    single = bound_terms("interpolated", schedule, X0[:4].float(), guess.float(), raw.float(), t)
    assert double.isfinite().all()
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-6)


def test_latents_have_a_density_at_the_last_step():
    x0, std = doubles(1, 2, 4), math.exp(-1)
    got = bound_terms("free", SHORT, x0, x0 + 0.1, torch.full_like(x0, -2.0), torch.tensor([0.1]), decoder="density")
    expected = -BITS * Normal(x0 + 0.1, std).log_prob(x0).mean()
    torch.testing.assert_close(got[0], expected)


def test_bad_input():
    with pytest.raises(InputError, match="Did you mean 'interpolated'"):
        check_learned("interpolate", SHORT)
    with pytest.raises(InputError, match="no variance to learn"):
        check_learned("free", NoiseSchedule.linear(steps=1, beta_start=0.5, beta_end=0.5))
    with pytest.raises(InputError, match="not one of the 256 levels"):
        bound_terms("free", SHORT, doubles(1, 2, 4), X0[:1], X0[:1], torch.tensor([0.1]))
