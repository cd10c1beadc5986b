"""Every solver against the exact answer on Gaussian data, and against its relatives."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from exact import SCHEDULES, Gaussian, Mixture, doubles
from sfumato import solvers
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError

ODE = [name for name in solvers.names() if solvers.SOLVERS[name].order]


def law(gaussian, table, mean, variance):
    """Mean and variance of the result from a start N(mean, variance), with the exact linear denoiser: everything stays
    Gaussian, so the mean and the covariance of the points that rows look back to are pushed through row by row."""
    K = table.window
    means, covariance = np.zeros(K), np.zeros((K, K))
    means[0], covariance[0, 0] = mean, variance
    offsets, gains = np.zeros(K), np.zeros(K)  # of the denoiser at those points: x̂0 = offset + gain·x
    for t, x, d, s in zip(table.times[:-1], table.X, table.D, table.S, strict=True):
        zero, one = (gaussian.denoise(torch.tensor(v, dtype=torch.float64), float(t)).item() for v in (0.0, 1.0))
        offsets, gains = np.r_[zero, offsets[:-1]], np.r_[one - zero, gains[:-1]]
        weights = x + d * gains
        onward = np.vstack([weights, np.eye(K)[: K - 1]])  # the new point, and the others a place further back
        means = onward @ means
        means[0] += d @ offsets
        covariance = onward @ covariance @ onward.T
        covariance[0, 0] += s**2
    return means[0], covariance[0, 0]


@pytest.mark.parametrize("schedule", ["linear", "cosine-zsnr", "short"])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_ancestral_sampling_has_its_closed_form_law(schedule, variance, steps):
    """x_s = a·x_t + b·E[x_0|x_t] + √v·z with a, b, v from Ho et al. (eq. 7) in ᾱ, iterated here independently."""
    s = SCHEDULES[schedule]
    gaussian = Gaussian(s)
    table = solvers.get("ddpm", s, steps=steps, variance=variance)
    assert table.spacing == "trailing"
    c2, mu = gaussian.std**2, gaussian.mean
    mean, var = 0.0, 1.0
    for t, u in pairwise(table.times):
        bar_t, bar_u = s.alpha(float(t)) ** 2, s.alpha(float(u)) ** 2
        step = bar_t / bar_u  # 1 - β of this step
        a = math.sqrt(step) * (1 - bar_u) / (1 - bar_t)
        b = math.sqrt(bar_u) * (1 - step) / (1 - bar_t)
        v = (1 - step) * ((1 - bar_u) / (1 - bar_t) if variance == "small" else float(u > 0))
        gain = math.sqrt(bar_t) * c2 / (bar_t * c2 + 1 - bar_t)  # of E[x_0|x_t] = mu + gain·(x_t - √ᾱ·mu)
        mean = a * mean + b * (mu + gain * (mean - math.sqrt(bar_t) * mu))
        var = (a + b * gain) ** 2 * var + v
    assert law(gaussian, table, 0.0, 1.0) == pytest.approx((mean, var), rel=1e-9)
    n = 20_000
    result = solvers.solve(gaussian.denoise, doubles(n, 1), table, seeds=range(n))
    assert result.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(var / n) + 1e-9)
    assert result.var().item() == pytest.approx(var, rel=5 * math.sqrt(2 / n))


def test_ancestral_sampling_becomes_exact():
    gaussian = Gaussian(SCHEDULES["cosine-zsnr"])
    for variance in ("small", "large"):
        mean, var = law(gaussian, solvers.get("ddpm", gaussian.schedule, steps=1000, variance=variance), 0.0, 1.0)
        assert mean == pytest.approx(gaussian.mean, abs=0.01)
        assert var == pytest.approx(gaussian.std**2, rel=0.05)


SDE = [  # solver, options, weak order; er-sde-3 where its third order is not yet mixed with a term of the other sign
    ("ddpm", {"variance": "small"}, 1),
    ("ddpm", {"variance": "large"}, 1),
    ("ddim", {"eta": 1.0}, 1),
    ("ddim", {"eta": 0.5}, 1),
    ("ancestral-euler", {}, 1),
    ("sde-dpmpp-2m", {}, 2),
    ("sde-dpmpp-3m", {"lower_order_final": False}, 2),
    ("er-sde-1", {}, 1),
    ("er-sde-2", {}, 2),
    ("er-sde-3", {}, 3),
    ("edm", {"s_noise": 1.0}, 2),
    ("restart", {"low": 0.6, "high": 1.5}, 2),
]


@pytest.mark.parametrize(("name", "options", "order"), SDE)
def test_weak_order_of_stochastic_solvers(name, options, order):
    """From an exact start, between inner times that are even in λ; against the marginal, which is known.

    The mean comes out exactly: what is right for a constant picture is right for the mean of this data. The variance
    shows the order.
    """
    gaussian = Gaussian(SCHEDULES["linear"])
    schedule = gaussian.schedule
    errors = []
    for count in (100, 200) if name == "er-sde-3" else (500, 1000):
        times = schedule.time(np.linspace(schedule.log_snr(0.9), schedule.log_snr(0.15), count + 1))
        more = {**options, "inner": count} if name == "restart" else options
        table = solvers.get(name, schedule, times=times, **more)
        mean, variance = law(gaussian, table, *gaussian.marginal(0.9))
        assert mean == pytest.approx(gaussian.marginal(times[-1])[0], rel=1e-9)
        errors.append(abs(variance - gaussian.marginal(times[-1])[1]))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_lcm_draws_the_forward_law_of_each_picture_it_sees():
    """x_s = α_s·x̂0 + σ_s·z: mean and variance by hand, for x̂0 = m + g·(x - α·m)."""
    gaussian = Gaussian(SCHEDULES["cosine-zsnr"])
    table = solvers.get("lcm", gaussian.schedule, times=[1.0, 0.6, 0.3, 0.0])
    mean, variance = 0.0, 1.0
    for t, s in pairwise([1.0, 0.6, 0.3, 0.0]):
        alpha, sigma = gaussian.schedule.alpha(t), gaussian.schedule.sigma(t)
        gain = alpha * gaussian.std**2 / (alpha**2 * gaussian.std**2 + sigma**2)
        seen = gaussian.mean + gain * (mean - alpha * gaussian.mean)
        mean = gaussian.schedule.alpha(s) * seen
        variance = gaussian.schedule.alpha(s) ** 2 * gain**2 * variance + gaussian.schedule.sigma(s) ** 2
    assert law(gaussian, table, 0.0, 1.0) == pytest.approx((mean, variance), rel=1e-12)


@pytest.mark.parametrize("name", ODE)
@pytest.mark.parametrize("schedule", ["cosine-zsnr", "linear", "edm"])
def test_whole_sampling_approaches_the_flow(name, schedule):
    truth = Mixture(SCHEDULES[schedule])
    start = {"cosine-zsnr": 1.0, "linear": 1.0, "edm": 80.0}[schedule]
    x = doubles(64) * start
    expected = truth.flow(x, 1.0, 0.0)
    errors = []
    for steps in (10, 40, 160):
        table = solvers.get(name, truth.schedule, steps=steps, spacing="log-snr")
        errors.append((solvers.solve(truth.denoise, x, table) - expected).abs().mean().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < (0.02 if solvers.SOLVERS[name].order == 1 else 0.002)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("spacing", ["trailing", "log-snr"])
def test_relatives_are_equal(schedule, spacing):
    def same(one, other, **options):
        a, b = (solvers.get(n, schedule, steps=min(9, schedule.steps), spacing=spacing, **o) for n, o in (one, other))
        window = max(a.window, b.window)
        for key in ("X", "D"):
            left, right = (np.pad(getattr(t, key), ((0, 0), (0, window - t.window))) for t in (a, b))
            np.testing.assert_allclose(left, right, atol=1e-9 * max(1, np.abs(left).max()))
        np.testing.assert_allclose(a.S, b.S, atol=1e-9)

    ddim = ("ddim", {})
    for name, options in [
        ("euler", {}),
        ("ancestral-euler", {"eta": 0.0}),
        ("dpm-solver-1", {}),
        ("dpmpp-2m", {"order": 1}),
        ("unipc-1", {"corrector": "off"}),
        ("deis-1", {}),
        ("deis-1", {"variable": "log-rho"}),
        ("ipndm-1", {}),
        ("lms", {"order": 1}),
        ("ab", {"order": 1, "prediction": "x0"}),
    ]:
        same(ddim, (name, options))
    ancestral = ("ddpm", {})
    same(ancestral, ("ddim", {"eta": 1.0}))
    same(ancestral, ("ancestral-euler", {}))
    same(("ddim", {"eta": 0.4}), ("ancestral-euler", {"eta": 0.4}))
    same(("heun", {}), ("edm", {"s_churn": 0.0}))
    same(("dpmpp-2m", {}), ("sde-dpmpp-2m", {"eta": 0.0}))
    same(("dpmpp-3m", {}), ("sde-dpmpp-3m", {"eta": 0.0}))
    same(("dpmpp-2m", {}), ("unipc-2", {"corrector": "off"}))
    same(("dpm-solver-3m", {}), ("deis-3", {"variable": "log-rho"}))
    same(("lms", {"order": 3}), ("ab", {"order": 3, "prediction": "eps"}))


def test_restart_goes_back_up_as_often_as_it_says():
    schedule = SCHEDULES["cosine-zsnr"]
    table = solvers.get("restart", schedule, steps=12, low=0.2, high=1.0, repeats=3, inner=2)
    assert table.steps == 12
    assert np.count_nonzero(np.diff(table.times) > 0) == 3
    assert np.count_nonzero(table.S) == 3
    assert table.calls == 2 * 13 - 1 + 3 * 2 * 2  # a step more, for the time at the low level
    tops = table.times[1:][np.diff(table.times) > 0]
    np.testing.assert_allclose(schedule.sigma(tops) / schedule.alpha(tops), 1.0, rtol=1e-9)


def test_churn_raises_the_noise_by_its_share():
    schedule = SCHEDULES["linear"]
    table = solvers.get("edm", schedule, times=[1.0, 0.5, 0.25, 0.0], s_churn=0.9, s_noise=1.0)
    levels = schedule.sigma(table.times) / schedule.alpha(table.times)
    rho = [schedule.sigma(t) / schedule.alpha(t) for t in (0.5, 0.25)]
    np.testing.assert_allclose(levels[[2, 4]], [1.3 * rho[0], 1.3 * rho[1]], rtol=1e-9)
    raised = schedule.alpha(table.times[2:5:2]) * np.sqrt(levels[2:5:2] ** 2 - np.square(rho))
    np.testing.assert_allclose(table.S[[1, 3]], raised, rtol=1e-9)
    assert np.count_nonzero(table.S) == 2


def test_the_formula_of_dpmpp_3m_that_others_have_is_of_second_order():
    """With half the weight of the second difference; ours, with all of it, is of third (test_order)."""
    gaussian = Gaussian(SCHEDULES["linear"])
    x = gaussian.marginal(0.9)[0] + doubles(16)
    errors = []
    for steps in (80, 160):
        schedule = gaussian.schedule
        times = schedule.time(np.linspace(schedule.log_snr(0.9), schedule.log_snr(0.3), steps + 1))
        ell = gaussian.schedule.log_snr(times) / 2
        points = [gaussian.flow(x, 0.9, float(t)) for t in times[:3]]
        seen = [gaussian.denoise(p, float(t)) for p, t in zip(points, times[:3], strict=True)]
        now = points[2]
        for i in range(2, steps):
            h, h0, h1 = ell[i + 1] - ell[i], ell[i] - ell[i - 1], ell[i - 1] - ell[i - 2]
            d0, d1 = (seen[i] - seen[i - 1]) / (h0 / h), (seen[i - 1] - seen[i - 2]) / (h1 / h)
            first = d0 + h0 / (h0 + h1) * (d0 - d1)
            second = h / (h0 + h1) * (d0 - d1)
            alpha, sigma, sigma_t = (
                gaussian.schedule.alpha(float(times[i + 1])),
                gaussian.schedule.sigma(float(times[i + 1])),
                gaussian.schedule.sigma(float(times[i])),
            )
            fall = math.expm1(-h)
            now = sigma / sigma_t * now - alpha * fall * seen[i] + alpha * (fall / h + 1) * first
            now = now - alpha * ((fall + h) / h**2 - 0.5) * second
            seen.append(gaussian.denoise(now, float(times[i + 1])))
        errors.append((now - gaussian.flow(x, 0.9, float(times[-1]))).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


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

        table = solvers.get(name, schedule, steps=12, spacing="trailing")
        paths.append(solvers.solve(denoise, doubles(4, 2), table, seeds=range(4)))
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
        (lambda: solvers.get("ddim", linear, steps=5, end="sigma_min"), "Did you mean 'sigma-min'"),
        (lambda: solvers.get("ddim", linear, times=[1, 0], end="sigma-min"), "either steps"),
        (lambda: solvers.get("ddpm", linear, times=[0.1, 0.5]), "its times must fall"),
        (lambda: solvers.get("unipc-2", linear, steps=5, variant="bh3"), "variant is one of bh1, bh2"),
        (lambda: solvers.get("unipc-2", linear, steps=5, order=3), "no option 'order'"),
        (lambda: solvers.get("dpmpp-3m", linear, steps=5, lower_order_final=1), "true or false"),
        (lambda: solvers.get("ab", linear, steps=5, order=5), "order is one of 1, 2, 3, 4"),
        (lambda: solvers.get("ab", linear, steps=5, order=True), "order is one of"),
        (lambda: solvers.get("ab", linear, steps=5, prediction="y"), "prediction is one of eps, x0, v"),
        (lambda: solvers.get("plms", linear, steps=5, warmup="none"), "rk, heun"),
        (lambda: solvers.get("deis-2", linear, steps=5, variable="rho"), "t, log-rho"),
        (lambda: solvers.get("edm", linear, steps=5, s_churn=-1), "s_churn is a number from 0"),
        (lambda: solvers.get("edm", linear, steps=5, s_churn="much"), "s_churn is a number"),
        (lambda: solvers.get("restart", linear, steps=5, low=2.0, high=1.0), "high is a number from 2"),
        (lambda: solvers.get("restart", linear, steps=5, repeats=0), "repeats is a whole number"),
        (lambda: solvers.get("restart", linear, steps=5, low=1.0, high=1.0), "have to pass"),
        (lambda: solvers.get("restart", linear, steps=5, high=500.0), "have to pass"),
        (lambda: solvers.get("restart", linear, times=[1.0, 0.5]), "have to pass"),
        (lambda: solvers.get("restart", linear, steps=5, low=math.inf, high=math.inf), "low is a number"),
        (lambda: solvers.get("edm", linear, steps=5, s_min="abc"), "s_min is a number"),
        (lambda: solvers.get("edm", linear, steps=5, s_min=2.0, s_max=1.0), "s_max is a number from 2"),
        (lambda: solvers.get("sde-dpmpp-2m", linear, steps=5, eta=float("nan")), "eta is a number"),
        (lambda: solvers.get("ddim", linear, steps=0), "from 1 to 1000"),
        (lambda: solvers.get("ddim", linear, steps=1001), "from 1 to 1000"),
        (lambda: solvers.get("ddim", linear, steps=1000, end="sigma-min"), "from 1 to 999"),
    ]:
        with pytest.raises(InputError, match=message.replace("+", r"\+")):
            call()
