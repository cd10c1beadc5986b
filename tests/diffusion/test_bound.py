"""The bound in bits, against Kullback-Leibler divergences and likelihoods that are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from exact import SCHEDULES, Gaussian, doubles
from sfumato.diffusion.bits import chosen_terms, falling_times
from sfumato.diffusion.bound import interpolated_log_variance, prior_bits, variational_bound
from sfumato.diffusion.decoder import decoder_log_prob
from sfumato.diffusion.forward import posterior_coefficients
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import DivergedError, InputError
from sfumato.seeds import Stream, noise

BITS = 1 / math.log(2)
SHORT = SCHEDULES["short"]
BETAS = np.linspace(0.05, 0.5, 10)  # of `short`, and what follows of them, written out
BAR = np.cumprod(1 - BETAS)


def of_bytes(*shape: int, seed: int = 0, mean: float = 0.1, std: float = 0.25) -> Tensor:
    """Gaussian data rounded to the 256 levels."""
    return (127.5 * (1 + mean + std * doubles(*shape, seed=seed))).round().clamp(0, 255) / 127.5 - 1


def exact_pair(truth: Gaussian, times: np.ndarray):
    """(x̂0, log variance of the true reverse step q(x_s|x_t)), which is Gaussian: the bound has no slack."""
    schedule = truth.schedule

    def denoise(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        s = times[np.flatnonzero(np.isclose(times, t))[0] + 1]
        _, b, v = posterior_coefficients(schedule, float(s), t)
        of_x0 = truth.std**2 * schedule.sigma(t) ** 2 / truth.marginal(t)[1]
        return truth.denoise(x, t), torch.tensor(math.log(v + b**2 * of_x0), dtype=torch.float64)

    return denoise


class TestTerms:
    @pytest.mark.parametrize("variance", ["small", "large", "learned"])
    def test_each_is_the_divergence_between_two_gaussians(self, variance):
        """With the textbook's q(x_s|x_t,x_0) in β and ᾱ, and torch's divergence between normals."""
        truth, x0, seeds = Gaussian(SHORT), of_bytes(3, 2, 4), [5, 6, 7]
        learned = 0.1 * doubles(3, 1, 4, seed=8) - 2.0

        def denoise(x: Tensor, t: float):
            return (truth.denoise(x, t), learned) if variance == "learned" else truth.denoise(x, t)

        got = variational_bound(SHORT, denoise, x0, seeds, variance=variance)
        assert got.complete
        for k in range(10):
            i = 9 - k  # of β_1 … β_T, counted from 0
            fresh = noise(seeds, (2, 4), Stream.LIKELIHOOD, k).double()
            xt = BAR[i] ** 0.5 * x0 + (1 - BAR[i]) ** 0.5 * fresh
            guess = truth.denoise(xt, (i + 1) / 10)
            torch.testing.assert_close(got.squared_errors[:, k], ((x0 - guess) ** 2).mean((1, 2)))
            if i == 0:
                tilde = BETAS[1] * (1 - BAR[0]) / (1 - BAR[1])
                std = torch.exp(learned.expand(3, 2, 4) / 2) if variance == "learned" else tilde**0.5
                nats = -decoder_log_prob(x0, guess, std)
            else:
                a = (1 - BETAS[i]) ** 0.5 * (1 - BAR[i - 1]) / (1 - BAR[i])
                b = BAR[i - 1] ** 0.5 * BETAS[i] / (1 - BAR[i])
                tilde = torch.tensor(BETAS[i] * (1 - BAR[i - 1]) / (1 - BAR[i]))
                own = {"small": tilde, "large": torch.tensor(BETAS[i]), "learned": torch.exp(learned)}[variance]
                nats = kl_divergence(Normal(a * xt + b * x0, tilde.sqrt()), Normal(a * xt + b * guess, own.sqrt()))
            torch.testing.assert_close(got.terms[:, k], nats.mean((1, 2)) * BITS, rtol=1e-10, atol=1e-12)
        prior = kl_divergence(Normal(BAR[-1] ** 0.5 * x0, (1 - BAR[-1]) ** 0.5), Normal(0.0, 1.0))
        torch.testing.assert_close(got.prior, prior.mean((1, 2)) * BITS)
        torch.testing.assert_close(got.total, got.prior + got.terms.sum(1))

    def test_few_steps_are_those_of_the_sampler(self):
        """Two steps over own times: one divergence, one decoder whose σ is that of the step before it."""
        truth, x0 = Gaussian(SCHEDULES["linear"]), of_bytes(2, 6)
        got = variational_bound(truth.schedule, truth.denoise, x0, [1, 2], times=[0.9, 0.2, 0.0])
        _, b, v = posterior_coefficients(truth.schedule, 0.2, 0.9)
        assert got.terms.shape == (2, 2)
        torch.testing.assert_close(got.terms[:, 0], BITS * b**2 * got.squared_errors[:, 0] / (2 * v))
        alpha, sigma = truth.schedule.alpha(0.2), truth.schedule.sigma(0.2)
        guess = truth.denoise(alpha * x0 + sigma * noise([1, 2], (6,), Stream.LIKELIHOOD, 1), 0.2)
        torch.testing.assert_close(got.terms[:, 1], -BITS * decoder_log_prob(x0, guess, v**0.5).mean(1))
        torch.testing.assert_close(got.prior, prior_bits(truth.schedule, x0, 0.9))

    def test_the_decoders_width_may_be_given(self):
        truth, x0 = Gaussian(SHORT), of_bytes(2, 6)
        xt = BAR[0] ** 0.5 * x0 + (1 - BAR[0]) ** 0.5 * noise([1, 2], (6,), Stream.LIKELIHOOD, 9)
        for decoder in ("erf", "tanh", "density"):
            got = variational_bound(SHORT, truth.denoise, x0, [1, 2], decoder=decoder, decoder_std=0.07, only=[9])
            expected = -BITS * decoder_log_prob(x0, truth.denoise(xt, 0.1), 0.07, decoder).mean(1)
            torch.testing.assert_close(got.terms[:, 0], expected)

    def test_one_step(self):
        """T = 1: the prior and the decoder, of width σ."""
        schedule = NoiseSchedule.linear(steps=1, beta_start=0.5, beta_end=0.5)
        x0 = of_bytes(2, 6)
        got = variational_bound(schedule, lambda x, t: torch.zeros_like(x), x0, [1, 2])
        expected = prior_bits(schedule, x0) - BITS * decoder_log_prob(x0, torch.zeros_like(x0), 0.5**0.5).mean(1)
        torch.testing.assert_close(got.total, expected)


class TestPrior:
    def test_of_the_linear_schedule_is_as_published(self):
        """Ho et al. 2020, section 4: about 1e-5 bits per dimension; for data of variance 1, ½·ᾱ_T·E x²·log2 e."""
        x0 = torch.tensor([[1.0, -1.0]]).double()
        bar = np.prod(1 - np.linspace(1e-4, 2e-2, 1000))
        got = prior_bits(SCHEDULES["linear"], x0).item()
        assert got == pytest.approx(bar / 2 * BITS, rel=1e-4)
        assert 1e-5 < got < 4e-5

    def test_nothing_leaks_at_zero_terminal_snr(self):
        truth, x0 = Gaussian(SCHEDULES["cosine-zsnr"]), of_bytes(2, 6)
        assert (prior_bits(truth.schedule, x0) == 0).all()
        got = variational_bound(truth.schedule, truth.denoise, x0, [1, 2], only=[0, 1, 999])
        assert torch.isfinite(got.terms).all()

    def test_where_noise_explodes(self):
        """N(x_0, σ²) against N(0, σ²), σ = 80."""
        x0 = torch.tensor([[0.5, -1.0]]).double()
        assert prior_bits(SCHEDULES["edm"], x0).item() == pytest.approx(BITS * 1.25 / 2 / 2 / 80**2)


class TestTruth:
    def test_no_slack_where_the_reverse_steps_are_exact(self):
        """Then the bound of a picture is -log q(x_0) + E[log q(x_T) - log prior(x_T)], q(x_T|x_0) known."""
        truth = Gaussian(SHORT)
        values = truth.mean + truth.std * doubles(20_000)
        got = variational_bound(
            SHORT,
            exact_pair(truth, falling_times(10, None)),
            values.expand(8, -1).contiguous(),
            [(2, n) for n in range(8)],
            variance="learned",
            decoder="density",
        )
        alpha, sigma, (centre, spread) = SHORT.alpha(1.0), SHORT.sigma(1.0), truth.marginal(1.0)
        second = (alpha * values) ** 2 + sigma**2
        about = (alpha * values - centre) ** 2 + sigma**2
        prior = (second - about / spread - math.log(spread)) / 2
        expected = BITS * (prior - Normal(truth.mean, truth.std).log_prob(values)).mean().item()
        assert abs(got.total.mean().item() - expected) < 4 * got.total.std().item() / 8**0.5
        assert got.total.std().item() < 0.02

    def test_the_slack_of_a_fixed_variance_goes_with_the_number_of_steps(self):
        """To the true -log p of Gaussian data, at 1/T: four times the steps, a quarter of the slack."""
        slack = []
        for steps in (100, 400):
            schedule = NoiseSchedule(np.linspace(14, -14, steps))
            truth = Gaussian(schedule)
            x0 = truth.mean + truth.std * doubles(1, 20_000)
            first = schedule.sigma(1 / steps) / schedule.alpha(1 / steps)
            got = variational_bound(schedule, truth.denoise, x0, [1], decoder="density", decoder_std=first)
            slack.append((got.total.mean() + BITS * Normal(truth.mean, truth.std).log_prob(x0).mean()).item())
        assert slack[0] > slack[1] > 0
        assert slack[0] / slack[1] == pytest.approx(4, rel=0.15)

    def test_bytes_cost_their_entropy_and_a_little(self):
        """1000 steps and Ho's decoder, on Gaussian data rounded to bytes, whose probabilities are known."""
        schedule = SCHEDULES["linear"]
        width = 2 / 255
        truth = Gaussian(schedule, mean=0.1, std=(0.25**2 + width**2 / 12) ** 0.5)  # rounding adds the bin's variance
        x0, seeds = of_bytes(8, 4_000), range(8)
        normal = Normal(torch.tensor(0.1, dtype=torch.float64), 0.25)
        entropy = -(normal.cdf(x0 + width / 2) - normal.cdf(x0 - width / 2)).log2().mean(1)
        expected = math.log2(0.25 * math.sqrt(2 * math.pi * math.e) / width)
        assert entropy.mean().item() == pytest.approx(expected, abs=0.02)
        first = variational_bound(schedule, truth.denoise, x0, seeds, variance="large", decoder_std=0.01)
        slack = first.total - entropy  # σ_1: as wide as x_0 is unknown on smooth data
        assert -2 * slack.std().item() / 8**0.5 < slack.mean().item() < 0.03
        hos = variational_bound(schedule, truth.denoise, x0, seeds, variance="large", only=[999])
        assert 0 < (hos.terms[:, 0] - first.terms[:, -1]).mean().item() < 0.2  # narrower


class TestEstimate:
    def test_the_mean_of_all_its_estimates_is_the_bound(self):
        truth, x0 = Gaussian(SHORT), of_bytes(2, 6)
        whole = variational_bound(SHORT, truth.denoise, x0, [1, 2])
        single = [variational_bound(SHORT, truth.denoise, x0, [1, 2], only=[k]) for k in range(10)]
        assert not single[0].complete
        torch.testing.assert_close(torch.stack([b.total for b in single]).mean(0), whole.total)
        pair = variational_bound(SHORT, truth.denoise, x0, [1, 2], only=[7, 2])
        torch.testing.assert_close(pair.total, whole.prior + 5 * (whole.terms[:, 7] + whole.terms[:, 2]))

    def test_a_picture_costs_the_same_alone(self):
        truth, x0 = Gaussian(SHORT), of_bytes(3, 6)
        batch = variational_bound(SHORT, truth.denoise, x0, [1, (2, 5), 3])
        alone = variational_bound(SHORT, truth.denoise, x0[1:2], [(2, 5)])
        torch.testing.assert_close(alone.terms, batch.terms[1:2], rtol=0, atol=1e-13)

    def test_single_precision(self):
        truth, x0 = Gaussian(SHORT), of_bytes(3, 6)
        double = variational_bound(SHORT, truth.denoise, x0, [1, 2, 3])
        single = variational_bound(SHORT, truth.denoise, x0.float(), [1, 2, 3])
        assert single.total.dtype == torch.float64
        torch.testing.assert_close(single.total, double.total, rtol=1e-5, atol=1e-5)


def test_a_variance_between_small_and_large():
    """Nichol & Dhariwal 2021, eq. 15, in β and ᾱ."""
    share = torch.tensor([0.0, 0.25, 1.0]).double()
    for i in (1, 5, 9):
        tilde = BETAS[i] * (1 - BAR[i - 1]) / (1 - BAR[i])
        expected = share * math.log(BETAS[i]) + (1 - share) * math.log(tilde)
        torch.testing.assert_close(interpolated_log_variance(SHORT, i / 10, (i + 1) / 10, share), expected)
    with pytest.raises(InputError, match="name the step before"):
        interpolated_log_variance(SHORT, 0.0, 0.1, share)


class TestBadInput:
    GOOD = of_bytes(2, 6)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"times": [0.0, 0.5, 1.0]}, "times fall strictly"),
            ({"times": [1.0, 0.5, 0.5, 0.0]}, "times fall strictly"),
            ({"times": [1.0, 0.5]}, "times fall strictly"),
            ({"times": [1.5, 0.0]}, "times fall strictly"),
            ({"times": [math.nan, 0.0]}, "times fall strictly"),
            ({"times": [0.0]}, "at least two"),
            ({"only": []}, "terms to evaluate"),
            ({"only": [0.5]}, "terms to evaluate"),
            ({"only": [10]}, "numbered 0"),
            ({"only": [-1]}, "numbered 0"),
            ({"variance": "learnt"}, "Did you mean 'learned'"),
            ({"variance": "learned"}, "needs denoise to return the pair"),
            ({"decoder": "tan"}, "Did you mean 'tanh'"),
            ({"decoder_std": 0.0}, "positive and finite"),
            ({"seeds": [1]}, "2 pictures need a seed each, got 1"),
            ({"seeds": [1, 0.5]}, "a seed is a whole number"),
            ({"x0": GOOD[0]}, "pictures are a tensor"),
            ({"x0": GOOD[:0]}, "pictures are a tensor"),
            ({"x0": torch.full((2, 6), math.nan)}, "NaN or infinity"),
            ({"x0": GOOD / 2}, "not one of the 256 levels"),
            ({"x0": GOOD + 2}, "not one of the 256 levels"),
        ],
    )
    def test_arguments(self, arguments, message):
        given = {"x0": self.GOOD, "seeds": [1, 2], **arguments}
        with pytest.raises(InputError, match=message):
            variational_bound(SHORT, Gaussian(SHORT).denoise, **given)

    def test_networks(self):
        with pytest.raises(DivergedError, match=r"at t = 1\.00000 the network"):
            variational_bound(SHORT, lambda x, t: x / 0, self.GOOD, [1, 2])
        with pytest.raises(InputError, match="put out"):
            variational_bound(SHORT, lambda x, t: x[:, 1:], self.GOOD, [1, 2])
        for wrong in (torch.zeros(5), torch.zeros(4, 2, 6)):
            with pytest.raises(InputError, match="does not fit"):
                variational_bound(SHORT, lambda x, t, w=wrong: (x, w), self.GOOD, [1, 2], variance="learned")
        with pytest.raises(InputError, match="pair"):
            variational_bound(SHORT, lambda x, t: (x, torch.zeros(())), self.GOOD, [1, 2])


def test_terms_and_times_are_counted_from_noise():
    np.testing.assert_array_equal(falling_times(4, None), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_array_equal(chosen_terms(3, None), [0, 1, 2])
