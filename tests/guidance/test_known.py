"""What is known of a picture: the noisy known part is the forward process, and what is new comes to fit it."""

import numpy as np
import pytest
import torch

from exact import SCHEDULES, Mixture, doubles
from sfumato import solvers
from sfumato.diffusion.forward import noisy
from sfumato.guidance.known import held
from sfumato.solvers.resampling import repaint

SCHEDULE = SCHEDULES["cosine-zsnr"]
NEW = torch.tensor([False, True])[None, :, None]
MEAN, STD = 0.2, 0.5


def pair(rho):
    """E[x_0 | x_t] of two pixels with correlation rho, (N, 2, M), by the formula for jointly Gaussian variables."""
    covariance = STD**2 * torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64)

    def denoise(x, t):
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        marginal = alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        gain = alpha * torch.linalg.solve(marginal, covariance).T
        return MEAN + torch.einsum("ij,njm->nim", gain, x - alpha * MEAN)

    return denoise


def filled(rho, table, m=20_000, known=1.2):
    """What becomes of the second pixel when the first is known: m draws."""
    picture = torch.tensor([known, 0.0], dtype=torch.float64)[None, :, None].expand(1, 2, m)
    x = solvers.solve(held(pair(rho), picture, NEW), doubles(1, 2, m), table, [5])
    assert torch.allclose(x[0, 0], picture[0, 0], atol=1e-12)  # the last step lands on the known pixel
    return x[0, 1]


def test_only_what_is_new_is_the_networks_to_say():
    known, said = torch.arange(6.0).reshape(1, 2, 3), -torch.ones(4, 2, 3)
    x0 = held(lambda x, t: said, known, NEW)(torch.zeros(4, 2, 3), 0.5)
    assert torch.equal(x0[:, 0], known[0, 0].expand(4, 3))
    assert torch.equal(x0[:, 1], said[:, 1])


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp-2m", "unipc-3", "dpm-solver-3s", "deis-3", "ipndm-4"])
@pytest.mark.parametrize("schedule", ["linear", "edm", "cosine-zsnr"])
def test_a_deterministic_solver_keeps_the_known_part_on_its_own_noise(name, schedule):
    """x_t = α_t·known + σ_t·ε at every step, whatever the network says of the rest."""
    truth = Mixture(SCHEDULES[schedule])
    known, eps = doubles(2, 2, 9), doubles(2, 2, 9, seed=1)
    table = solvers.get(name, truth.schedule, 12)
    x = noisy(truth.schedule, known, float(table.times[0]), eps)
    for step in solvers.steps(held(truth.denoise, known, NEW), x, table):
        t = float(table.times[step.i + 1])
        expected = noisy(truth.schedule, known, t, eps)
        scale = 1 + truth.schedule.sigma(t)
        torch.testing.assert_close(step.x[:, 0] / scale, expected[:, 0] / scale, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [("ddpm", {}), ("ddim", {"eta": 0.7}), ("sde-dpmpp-2m", {}), ("er-sde-3", {}), ("lcm", {}), ("restart", {})],
)
def test_under_a_stochastic_solver_the_known_part_is_a_draw_of_the_forward_process(name, options):
    known = torch.full((1, 2, 40_000), 0.7, dtype=torch.float64)
    table = solvers.get(name, SCHEDULE, 12, **options)
    walk = solvers.steps(held(pair(0.5), known, NEW), doubles(1, 2, 40_000), table, [3])
    for step in walk:
        t, x = float(table.times[step.i + 1]), step.x[0, 0]
        assert x.mean() == pytest.approx(SCHEDULE.alpha(t) * 0.7, abs=0.02)
        assert x.std() == pytest.approx(SCHEDULE.sigma(t), rel=0.02, abs=1e-9)


def test_ancestral_sampling_draws_the_known_path_as_the_forward_process_does():
    """cov(x_s, x_t | x_0) = σ_s²·α_t/α_s for s < t: all times together, not only each by itself."""
    known = torch.zeros(1, 2, 40_000, dtype=torch.float64)
    table = solvers.get("ddpm", SCHEDULE, times=[1.0, 0.8, 0.6, 0.4, 0.0])
    xs = [step.x[0, 0] for step in solvers.steps(held(pair(0.5), known, NEW), doubles(1, 2, 40_000), table, [3])]
    for i, t in ((0, 0.8), (1, 0.6)):
        expected = SCHEDULE.sigma(0.4) ** 2 * SCHEDULE.alpha(t) / SCHEDULE.alpha(0.4)
        assert (xs[2] * xs[i]).mean() == pytest.approx(expected, abs=0.01)


def test_what_is_independent_of_the_known_is_what_it_would_be_without_it():
    """For uncorrelated pixels the conditional law is the marginal one, to the last bit of the sample."""
    table, x = solvers.get("ddpm", SCHEDULE, 20), doubles(1, 2, 50)
    free = solvers.solve(pair(0.0), x, table, [1])
    kept = solvers.solve(held(pair(0.0), torch.full_like(x, 0.9), NEW), x, table, [1])
    torch.testing.assert_close(kept[0, 1], free[0, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_the_more_is_resampled_the_nearer_to_the_exact_conditional_mean(name):
    """E[b | a] = μ + ρ·(a - μ). Without resampling the new pixel fits only the noisy known one, and falls short."""
    rho, times = 0.8, np.linspace(1, 0, 21)
    truth = MEAN + rho * (1.2 - MEAN)
    errors = []
    for repeats in (1, 2, 4, 10, 30):
        table = repaint(name, SCHEDULE, times, jump=1, repeats=repeats)
        errors.append(truth - filled(rho, table, 4_000).mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3
    assert 0 < errors[-1] < 0.05


def test_mean_and_spread_with_many_small_steps_and_resampling():
    """N(μ + ρ·(a - μ), s²·(1 - ρ²)), approached from both sides."""
    rho = 0.8
    few, many = (repaint("ddpm", SCHEDULE, np.linspace(1, 0, n + 1), jump=n // 10, repeats=10) for n in (10, 100))
    exact = MEAN + rho * (1.2 - MEAN), STD * (1 - rho**2) ** 0.5
    rough, fine = (filled(rho, table, 10_000) for table in (few, many))
    assert abs(fine.std() - exact[1]) < 0.02 < abs(rough.std() - exact[1])
    assert abs(fine.mean() - exact[0]) < 0.08
