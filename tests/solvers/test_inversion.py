import math

import numpy as np
import pytest
import torch

from exact import SCHEDULES, Gaussian, Mixture, doubles
from sfumato import solvers
from sfumato.errors import InputError
from sfumato.solvers.inversion import inversion, slerp

CASES = [("ddim", 1), ("heun", 2), ("dpmpp-2m", 2), ("dpm-solver-2s", 2), ("dpm-solver-3s", 3)]


@pytest.mark.parametrize(("name", "order"), CASES)
@pytest.mark.parametrize("kind", [Gaussian, Mixture])
def test_the_round_trip_error_falls_at_the_solvers_order(name, order, kind):
    truth = kind(SCHEDULES["linear"])
    schedule = truth.schedule
    x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
    errors = []
    for steps in (160, 320):
        up = schedule.time(np.linspace(schedule.log_snr(0.15), schedule.log_snr(0.8), steps + 1))
        noise = solvers.solve(truth.denoise, x, solvers.get(name, schedule, times=up))
        back = solvers.solve(truth.denoise, noise, solvers.get(name, schedule, times=up[::-1]))
        errors.append((back - x).abs().max().item())
    assert math.log2(errors[0] / errors[1]) > order - 0.15  # errors of the ways up and down may cancel


@pytest.mark.parametrize(("name", "order"), [*CASES, ("unipc-2", 3), ("deis-3", 3), ("ipndm-2", 2), ("ab", 3)])
@pytest.mark.parametrize("schedule", ["linear", "cosine-zsnr"])
def test_data_goes_to_the_noise_that_the_flow_says(name, order, schedule):
    """From a picture itself, at t = 0, to t = 1; the flow of the mixture is known."""
    truth = Mixture(SCHEDULES[schedule])
    x0 = torch.linspace(-1.2, 1.0, 8, dtype=torch.float64)
    expected = truth.flow(x0, 0.0, 1.0)
    errors = []
    for steps in (25, 100):
        table = inversion(name, truth.schedule, steps, "log-snr")
        start = truth.schedule.alpha(float(table.times[0])) * x0
        errors.append((solvers.solve(truth.denoise, start, table) - expected).abs().max().item())
    assert errors[1] < errors[0] / 2
    assert errors[1] < (0.1 if order == 1 else 0.03)


def test_the_first_call_puts_in_half_of_the_noise_that_it_finds():
    """x/α = x_0 + ∫ ε̂ dρ, and ε̂ grows in proportion to ρ from 0: half of ρ_1·ε̂(ρ_1), up to the third power of ρ_1."""
    gaussian = Gaussian(SCHEDULES["linear"])
    x0 = doubles(6)
    errors, levels = [], []
    for t in (0.02, 0.04):
        table = inversion("ddim", gaussian.schedule, times=[t, t + 1e-9])
        alpha = gaussian.schedule.alpha(t)
        got = solvers.solve(gaussian.denoise, alpha * x0, table)
        plain = solvers.solve(gaussian.denoise, alpha * x0, solvers.get("ddim", gaussian.schedule, times=[t, t + 1e-9]))
        truth = gaussian.flow(x0, 0.0, t)
        assert (got - truth).abs().max() < 0.1 * (plain - truth).abs().max()
        errors.append((got - truth).abs().max().item())
        levels.append(gaussian.schedule.sigma(t) / alpha)
    assert math.log(errors[1] / errors[0]) / math.log(levels[1] / levels[0]) > 2.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: inversion("ddpm", s, 5), "draws noise"),
        (lambda s: inversion("ddimm", s, 5), "Did you mean 'ddim'"),
        (lambda s: inversion("ddim", s), "either steps"),
        (lambda s: inversion("ddim", s, 0), "from 1 to 999"),
        (lambda s: inversion("ddim", s, 1000), "from 1 to 999, not 1000"),
        (lambda s: inversion("ddim", s, True), "from 1 to 999"),
        (lambda s: inversion("ddim", s, 50, "leading"), "does not begin at t = 1"),
        (lambda s: inversion("ddim", s, times=[0.5, 0.1]), "rise"),
        (lambda s: inversion("ddim", s, times=[0.0, 0.1]), "above 0"),
        (lambda s: inversion("ddim", s, 5, etta=1), "Did you mean 'eta'"),
        (lambda s: inversion("ddim", s, 5, eta=1.0), "draws noise"),
    ],
)
def test_impossible_inversions_are_told(call, message):
    with pytest.raises(InputError, match=message):
        call(SCHEDULES["linear"])


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.5, 0.999])
def test_the_arc_keeps_the_variance(correlation):
    """For a and b with |a|² = |b|² = n and a·b = n·cos θ, every point of the arc has |x|² = n."""
    n = 4096
    first, second = doubles(1, n, seed=1), doubles(1, n, seed=2)
    first = first / first.norm() * n**0.5
    second = second - (second * first).sum() / n * first
    second = second / second.norm() * n**0.5
    b = correlation * first + math.sqrt(1 - correlation**2) * second
    for share in (0.0, 0.2, 0.5, 1.0):
        assert slerp(first, b, share).square().sum().item() == pytest.approx(n, rel=1e-9)
    torch.testing.assert_close(slerp(first, b, 0.0), first)
    torch.testing.assert_close(slerp(first, b, 1.0), b)
    middle = slerp(first, b, 0.5)
    torch.testing.assert_close(middle, (first + b) / math.sqrt(2 + 2 * correlation))


def test_each_picture_has_its_own_arc_and_a_point_has_none():
    a, b = doubles(3, 2, 5, seed=1), doubles(3, 2, 5, seed=2)
    b[1] = a[1]
    whole = slerp(a, b, 0.3)
    for i in range(3):
        torch.testing.assert_close(whole[i : i + 1], slerp(a[i : i + 1], b[i : i + 1], 0.3))
    torch.testing.assert_close(whole[1], a[1])
    assert slerp(a[:0], b[:0], 0.5).shape == (0, 2, 5)


def test_the_middle_of_two_gaussian_pictures_is_one():
    """Inverted exactly, mixed on the arc and brought back: N(0, c²) data stays N(0, c²)."""
    gaussian = Gaussian(SCHEDULES["cosine-zsnr"], mean=0.0)
    a, b = (doubles(1, 20_000, seed=s) * gaussian.std for s in (1, 2))
    up = inversion("heun", gaussian.schedule, 40, "log-snr")
    alpha = gaussian.schedule.alpha(float(up.times[0]))
    noises = [solvers.solve(gaussian.denoise, alpha * x, up) for x in (a, b)]
    down = solvers.get("heun", gaussian.schedule, 40, "log-snr")
    middle = solvers.solve(gaussian.denoise, slerp(noises[0], noises[1], 0.5), down)
    assert middle.std().item() == pytest.approx(gaussian.std, rel=0.02)
    again = solvers.solve(gaussian.denoise, noises[0], down)
    torch.testing.assert_close(again, a, atol=0.02, rtol=0)
