"""The density by the flow, against densities that are known: Gaussians of any covariance, mixtures, uniform bytes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from exact import SCHEDULES, Gaussian, Mixture, doubles
from sfumato.diffusion.density import FlowLikelihood, dequantised, flow_likelihood
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import DivergedError, InputError

FINE = NoiseSchedule(np.linspace(16, -30, 1000), name="fine")  # so little noise at both ends that nothing leaks
KNOWN = {**SCHEDULES, "fine": FINE}


class Correlated:
    """Data N(mean, covariance) in D dimensions."""

    def __init__(self, schedule: NoiseSchedule, dims: int = 3) -> None:
        self.schedule, self.mean = schedule, torch.linspace(-0.4, 0.5, dims).double()
        root = torch.eye(dims).double() * torch.linspace(0.3, 0.8, dims).double() + 0.2 * doubles(dims, dims, seed=5)
        self.covariance = root @ root.T

    def denoise(self, x: Tensor, t: float) -> Tensor:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        of_x = alpha**2 * self.covariance + sigma**2 * torch.eye(len(self.mean)).double()
        return self.mean + alpha * torch.linalg.solve(of_x, (x - alpha * self.mean).T).T @ self.covariance

    def log_density(self, x: Tensor) -> Tensor:
        return torch.distributions.MultivariateNormal(self.mean, self.covariance).log_prob(x)


def mixture_log_density(truth: Mixture, x: Tensor) -> Tensor:
    """Σ over values of log Σ weight·N(mean, std²)."""
    weights, means, stds = (torch.tensor(v, dtype=torch.float64) for v in (truth.weights, truth.means, truth.stds))
    parts = weights.log() + torch.distributions.Normal(means, stds).log_prob(x[..., None])
    return torch.logsumexp(parts, -1).flatten(1).sum(1)


def through(truth: Gaussian, x0: Tensor, start: float, end: float) -> Tensor:
    """log p(x_0) of noise N(0, prior²) carried back by the flow of Gaussian data: an affine map, whatever the prior."""
    schedule = truth.schedule
    at_end = truth.flow(schedule.alpha(0.0) * x0, 0.0, end)
    slope = (truth.marginal(end)[1] / truth.marginal(0.0)[1]) ** 0.5
    prior = torch.distributions.Normal(torch.zeros(()).double(), schedule.prior_scale(end))
    return (prior.log_prob(at_end) + math.log(slope)).flatten(1).sum(1)


@pytest.mark.parametrize("name", KNOWN)
def test_exact_for_gaussians_on_every_schedule(name):
    """What the model says, prior and all: also where the schedule ends before the data is forgotten."""
    truth = Gaussian(KNOWN[name])
    x0 = 0.3 + 0.6 * doubles(5, 2, 2)
    got = flow_likelihood(truth.schedule, truth.denoise, x0, probes=None)
    expected = through(truth, x0, got.start, got.end)
    rho = truth.schedule.sigma(got.start) / truth.schedule.alpha(got.start)
    tolerance = 1e-6 + 5 * (rho / truth.std) ** 4  # the start: `short` begins at σ = 0.22
    torch.testing.assert_close(got.log_density, expected, rtol=0, atol=tolerance)
    end = truth.flow(x0, 0.0, got.end)
    torch.testing.assert_close(got.noise, end, rtol=0, atol=tolerance * end.abs().max().item())


def test_the_density_of_a_gaussian_of_any_covariance():
    truth = Correlated(FINE)
    x0 = truth.mean + 0.7 * doubles(6, 3)
    exact = flow_likelihood(FINE, truth.denoise, x0, probes=None, steps=200)
    torch.testing.assert_close(exact.log_density, truth.log_density(x0), rtol=0, atol=1e-6)
    assert exact.calls == 801
    torch.testing.assert_close(exact.bits, -truth.log_density(x0) / (3 * math.log(2)), rtol=0, atol=1e-6)


def test_hutchinsons_estimate_is_unbiased_and_better_with_more_probes():
    truth = Correlated(FINE)
    x0 = (truth.mean + 0.7 * doubles(1, 3)).expand(2000, 3)
    expected = flow_likelihood(FINE, truth.denoise, x0[:1], probes=None, steps=25).log_density
    widths = []
    for probes in (1, 4):
        got = flow_likelihood(FINE, truth.denoise, x0, [(3, n) for n in range(2000)], probes=probes, steps=25)
        spread = got.log_density.std().item()
        assert abs(got.log_density.mean() - expected).item() < 4 * spread / 2000**0.5
        assert spread > 0.05
        widths.append(spread)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.1)


def test_the_density_of_a_mixture():
    truth = Mixture(FINE)
    x0 = torch.linspace(-1.5, 1.4, 20).double().reshape(10, 2)
    expected = mixture_log_density(truth, x0)
    got = flow_likelihood(FINE, truth.denoise, x0, probes=None, steps=200)
    torch.testing.assert_close(got.log_density, expected, rtol=0, atol=2e-5)
    # independent values have a diagonal Jacobian, of which one sign vector tells the trace exactly
    one = flow_likelihood(FINE, truth.denoise, x0, range(10), probes=1, steps=200)
    torch.testing.assert_close(one.log_density, got.log_density, rtol=0, atol=1e-10)


def test_the_error_falls_with_the_fourth_power_of_the_steps():
    truth = Mixture(FINE)
    x0 = torch.linspace(-1.2, 1.0, 8).double()[:, None]
    errors = []
    for steps in (60, 120):
        got = flow_likelihood(FINE, truth.denoise, x0, probes=None, steps=steps)
        errors.append((got.log_density - mixture_log_density(truth, x0)).abs().max().item())
    assert 3.5 < math.log2(errors[0] / errors[1]) < 5


def test_the_start_is_corrected_to_the_fourth_power_of_its_noise():
    truth = Gaussian(FINE)
    x0 = 0.3 + 0.6 * doubles(6, 1)
    errors, levels = [], []
    for log_snr in (7.0, 5.5):
        start = FINE.time(log_snr)
        got = flow_likelihood(FINE, truth.denoise, x0, probes=None, start=start)
        errors.append((got.log_density - through(truth, x0, start, 1.0)).abs().max().item())
        levels.append(FINE.sigma(start) / FINE.alpha(start))
    assert math.log(errors[1] / errors[0]) / math.log(levels[1] / levels[0]) > 3.5


def test_a_picture_is_the_same_alone_and_in_single_precision():
    truth = Correlated(FINE)
    x0 = truth.mean + 0.5 * doubles(4, 3)
    batch = flow_likelihood(FINE, truth.denoise, x0, [7, 8, 9, 10], steps=10)
    alone = flow_likelihood(FINE, truth.denoise, x0[2:3], [9], steps=10)
    torch.testing.assert_close(alone.log_density, batch.log_density[2:3], rtol=0, atol=1e-12)
    single = Mixture(FINE)
    one = flow_likelihood(FINE, lambda x, t: single.denoise(x.double(), t).float(), x0.float(), range(4), steps=50)
    two = flow_likelihood(FINE, single.denoise, x0, range(4), steps=50)
    assert one.noise.dtype == torch.float32
    torch.testing.assert_close(one.log_density, two.log_density, rtol=0, atol=1e-4)


class TestBytes:
    def test_a_uniform_density_costs_eight_bits_a_byte(self):
        """On [-1 - 1/255, 1 + 1/255], where the 256 bins lie, the uniform density is 255/512."""
        flat = FlowLikelihood(torch.full((3,), 12 * math.log(255 / 512)), torch.zeros(3, 3, 2, 2), 0.001, 1.0, 1)
        torch.testing.assert_close(flat.byte_bits, torch.full((3,), 8.0))

    def test_dequantised_fills_each_bin_evenly(self):
        x0 = (torch.tensor([0.0, 17, 255]) / 127.5 - 1)[:, None].expand(3, 50_000).contiguous()
        within = (dequantised(x0, [1, 2, 3]) - x0) * 127.5
        assert within.abs().max() <= 0.5 + 1e-4
        for row in within.double():
            assert row.mean().abs().item() < 4 * (1 / 12 / 50_000) ** 0.5
            assert row.var().item() == pytest.approx(1 / 12, rel=0.02)
        assert torch.equal(dequantised(x0[1:2], [2]), dequantised(x0, [1, 2, 3])[1:2])

    def test_the_bytes_of_a_gaussian_cost_their_entropy(self):
        """Wide against a bin, a Gaussian's dequantised density is its own: -log2 of the bin's probability."""
        truth = Gaussian(FINE, mean=0.05, std=0.3)
        level = (127.5 * (1 + 0.05 + 0.3 * doubles(64, 16, seed=2))).round().clamp(0, 255)
        x0 = level / 127.5 - 1
        got = flow_likelihood(FINE, truth.denoise, dequantised(x0, range(64)), range(64), steps=50).byte_bits.mean()
        normal = torch.distributions.Normal(torch.tensor(0.05, dtype=torch.float64), 0.3)
        chance = normal.cdf(x0 + 1 / 255) - normal.cdf(x0 - 1 / 255)
        assert got.item() == pytest.approx(-chance.log2().mean().item(), abs=2e-3)

    def test_pictures_off_the_levels_are_refused(self):
        with pytest.raises(InputError, match="256 levels"):
            dequantised(torch.zeros(1, 4), [0])  # 0 lies between levels 127 and 128


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps are a whole number"),
        ({"probes": 0, "seeds": [1, 2]}, "probes are a whole number"),
        ({"start": 0.0}, "0 < start < end"),
        ({"start": 0.5, "end": 0.4}, "0 < start < end"),
        ({"end": 1.2}, "0 < start < end"),
        ({"start": math.nan}, "0 < start < end"),
        ({}, "random probes need a seed"),
        ({"seeds": [1]}, "2 pictures need a seed each, got 1"),
        ({"seeds": [1, -1]}, "a seed is a whole number"),
    ],
)
def test_bad_arguments(arguments, message):
    seeds = arguments.pop("seeds", None)
    with pytest.raises(InputError, match=message):
        flow_likelihood(FINE, Gaussian(FINE).denoise, doubles(2, 3), seeds, **arguments)


@pytest.mark.parametrize(
    "x0", [torch.zeros(3), torch.zeros(0, 3), torch.zeros(2, 3).long(), torch.full((2, 3), math.nan)]
)
def test_bad_pictures(x0):
    with pytest.raises(InputError, match="pictures"):
        flow_likelihood(FINE, Gaussian(FINE).denoise, x0, probes=None)


def test_a_network_that_fails():
    with pytest.raises(DivergedError, match=r"at t = 0\.00100"):
        flow_likelihood(FINE, lambda x, t: x * math.nan, doubles(2, 3), probes=None)
    with pytest.raises(InputError, match="put out"):
        flow_likelihood(FINE, lambda x, t: x[:, :2], doubles(2, 3), probes=None)
    with pytest.raises(InputError, match="gradient of denoise"):
        flow_likelihood(FINE, torch.no_grad()(Gaussian(FINE).denoise), doubles(2, 3), probes=None)
    weight = torch.ones(3, requires_grad=True)
    with pytest.raises(InputError, match="gradient of denoise"):
        flow_likelihood(FINE, lambda x, t: x.detach() * weight, doubles(2, 3), probes=None)
