"""Every solver against the exact answer on Gaussian data, and against its relatives."""

import math

import numpy as np
import pytest
import torch

from exact import SCHEDULES, Gaussian, doubles
from sfumato import solvers
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError

ODE = [name for name in solvers.names() if solvers.SOLVERS[name].order]


def law(gaussian, table, variance_start=1.0, mean_start=0.0):
    """Mean and variance of the result, from a start N(mean, variance), through a table of one-step rows with the exact
    linear denoiser: everything stays Gaussian, so mean and variance are pushed through row by row."""
    mean, variance = mean_start, variance_start
    for t, x, d, s in zip(table.times[:-1], table.X[:, 0], table.D[:, 0], table.S, strict=True):
        zero, one = (gaussian.denoise(torch.tensor(v, dtype=torch.float64), float(t)).item() for v in (0.0, 1.0))
        slope = x + d * (one - zero)
        mean, variance = slope * mean + d * zero, slope**2 * variance + s**2
    return mean, variance


@pytest.mark.parametrize("schedule", ["linear", "cosine-zsnr", "short"])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_ancestral_sampling_has_its_closed_form_law(schedule, variance, steps):
    """x_s = a·x_t + b·E[x_0|x_t] + √v·z with a, b, v from Ho et al. (eq. 7) in ᾱ, iterated here independently."""
    s = SCHEDULES[schedule]
    gaussian = Gaussian(s)
    table = solvers.get("ddpm", s, steps=steps, variance=variance)
    c2, mu = gaussian.std**2, gaussian.mean
    mean, var = 0.0, 1.0
    for t, u in zip(table.grid[:-1], table.grid[1:], strict=True):
        bar_t, bar_u = s.alpha(float(t)) ** 2, s.alpha(float(u)) ** 2
        step = bar_t / bar_u  # 1 - β of this step
        a = math.sqrt(step) * (1 - bar_u) / (1 - bar_t)
        b = math.sqrt(bar_u) * (1 - step) / (1 - bar_t)
        v = (1 - step) * ((1 - bar_u) / (1 - bar_t) if variance == "small" else float(u > 0))
        gain = math.sqrt(bar_t) * c2 / (bar_t * c2 + 1 - bar_t)  # of E[x_0|x_t] = mu + gain·(x_t - √ᾱ·mu)
        mean = a * mean + b * (mu + gain * (mean - math.sqrt(bar_t) * mu))
        var = (a + b * gain) ** 2 * var + v
    assert law(gaussian, table) == pytest.approx((mean, var), rel=1e-9)
    n = 20_000
    result = solvers.solve(gaussian.denoise, doubles(n, 1), table, seeds=range(n))
    assert result.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(var / n) + 1e-9)
    assert result.var().item() == pytest.approx(var, rel=5 * math.sqrt(2 / n))


def test_ancestral_sampling_becomes_exact():
    gaussian = Gaussian(SCHEDULES["cosine-zsnr"])
    for variance in ("small", "large"):
        mean, var = law(gaussian, solvers.get("ddpm", gaussian.schedule, steps=1000, variance=variance))
        assert mean == pytest.approx(gaussian.mean, abs=0.01)
        assert var == pytest.approx(gaussian.std**2, rel=0.05)


@pytest.mark.parametrize("name", ODE)
def test_order_of_convergence(name):
    """The slope of log error against log step, on the exact flow between two inner times, from an exact start."""
    gaussian = Gaussian(SCHEDULES["linear"])
    schedule = gaussian.schedule
    start, end = schedule.log_snr(0.9), schedule.log_snr(0.3)
    x = gaussian.marginal(0.9)[0] + doubles(64) * gaussian.marginal(0.9)[1] ** 0.5
    truth = gaussian.flow(x, 0.9, 0.3)
    counts, errors = [80, 160, 320], []
    for count in counts:
        times = schedule.time(np.linspace(start, end, count + 1))
        result = solvers.solve(gaussian.denoise, x, solvers.get(name, schedule, times=times))
        errors.append((result - truth).norm().item())
    slopes = -np.diff(np.log(errors)) / np.diff(np.log(counts))
    assert slopes == pytest.approx(solvers.SOLVERS[name].order, abs=0.15)


@pytest.mark.parametrize("name", ODE)
@pytest.mark.parametrize("schedule", ["cosine-zsnr", "linear", "edm"])
def test_whole_sampling_approaches_the_flow(name, schedule):
    gaussian = Gaussian(SCHEDULES[schedule])
    start_mean, start_var = gaussian.marginal(1.0)
    x = start_mean + doubles(64) * start_var**0.5
    truth = gaussian.flow(x, 1.0, 0.0)
    errors = []
    for steps in (10, 40, 160):
        result = solvers.solve(gaussian.denoise, x, solvers.get(name, gaussian.schedule, steps=steps))
        errors.append((result - truth).abs().max().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < (0.05 if solvers.SOLVERS[name].order == 1 else 0.005)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_relatives_are_equal(schedule):
    for spacing in ("trailing", "log-snr"):
        steps = min(9, schedule.steps)
        make = lambda name, **options: solvers.get(name, schedule, steps=steps, spacing=spacing, **options)  # noqa: E731, B023
        ddim = make("ddim")
        for other in (make("euler"), make("dpmpp-2m", order=1)):
            for key in ("X", "D", "S"):
                np.testing.assert_allclose(getattr(other, key), getattr(ddim, key), atol=1e-9)
        for key in ("X", "D", "S"):
            np.testing.assert_allclose(getattr(make("ddim", eta=1.0), key), getattr(make("ddpm"), key), atol=1e-9)


def test_eta_scales_the_variance_by_its_square():
    half, full = (solvers.get("ddim", SCHEDULES["linear"], steps=5, eta=eta) for eta in (0.5, 1.0))
    np.testing.assert_allclose(half.S**2, 0.25 * full.S**2, rtol=1e-12)


@pytest.mark.parametrize("name", solvers.names())
def test_eps_x0_and_v_networks_take_the_same_path(name):
    """One and the same knowledge, put out in three ways."""
    schedule = SCHEDULES["linear"]
    gaussian, paths = Gaussian(schedule), []
    for prediction in ("eps", "x0", "v"):
        diffusion = Diffusion(schedule, prediction)

        def denoise(x, t, diffusion=diffusion):
            x0 = gaussian.denoise(x, t)
            eps = (x - schedule.alpha(t) * x0) / schedule.sigma(t)
            return diffusion.denoised(diffusion.target(x0, t, eps), x, t)

        paths.append(solvers.solve(denoise, doubles(4, 2), solvers.get(name, schedule, steps=12), seeds=range(4)))
    torch.testing.assert_close(paths[0], paths[1])
    torch.testing.assert_close(paths[0], paths[2])


def test_own_times_end_where_they_say():
    gaussian = Gaussian(SCHEDULES["linear"])
    x = doubles(8)
    for name in ODE:
        result = solvers.solve(
            gaussian.denoise, x, solvers.get(name, gaussian.schedule, times=np.linspace(0.8, 0.2, 301))
        )
        torch.testing.assert_close(result, gaussian.flow(x, 0.8, 0.2), atol=0.02, rtol=0)


def test_bad_requests_are_told():
    linear = SCHEDULES["linear"]
    for call, message in [
        (lambda: solvers.get("dpm-pp-2m", linear, steps=5), "Did you mean 'dpmpp-2m'"),
        (lambda: solvers.get("ddim", linear, steps=5, etta=1), "Did you mean 'eta'"),
        (lambda: solvers.get("euler", linear, steps=5, eta=1), "It takes none"),
        (lambda: solvers.get("ddim", linear, steps=5, eta=1.5), "eta lies between 0"),
        (lambda: solvers.get("ddpm", linear, steps=5, variance="smal"), "Did you mean 'small'"),
        (lambda: solvers.get("ddim", linear), "either steps"),
        (lambda: solvers.get("ddim", linear, steps=5, times=[1, 0]), "either steps"),
        (lambda: solvers.get("dpmpp-2m", linear, steps=5, order=3), "order"),
        (lambda: solvers.get("ddim", linear, times=[1, 1e-170, 0]), "too near to 0"),
    ]:
        with pytest.raises(InputError, match=message.replace("+", r"\+")):
            call()
