"""Bits of a model whose denoiser is the exact posterior mean, against divergences and densities that are known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from exact import Gaussian
from factory import NETWORK, model, text_model
from known import SHORT, Known, exact, gaussian_bytes
from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.diffusion.bound import variational_bound
from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.decoder import decoder_log_prob
from sfumato.diffusion.density import dequantised
from sfumato.errors import DivergedError, InputError
from sfumato.evaluation.bounds import bounds
from sfumato.evaluation.likelihood import bits_per_dimension
from sfumato.evaluation.told import ToldPictures
from sfumato.scaling import to_unit
from sfumato.seeds import Stream, noise
from tiny import inpainter, latent_model

BETAS = np.linspace(0.05, 0.5, 10)
BAR = np.cumprod(1 - BETAS)
BITS = 1 / math.log(2)


def labelled(count: int = 6) -> Dataset:
    """Kinds and classes in another order than the model's; one class and one kind that it does not know."""
    kinds = {"size": ("big",), "style": ("flat", "noto", "oil"), "group": ("animals", "food")}
    labels = np.array([[0, 0, 0], [0, 1, 1], [-1, 2, 0], [0, -1, -1], [0, 0, 1], [0, 1, 0]])[:count]
    return replace(gaussian_bytes(count), kinds=kinds, labels=labels)


def every_term(x0: torch.Tensor, seeds: list[tuple[int, int]], truth: Gaussian, share: float = 0.0) -> tuple:
    """L_T (N,), L_9 … L_1 (N, 9) and L_0 (N,), with the textbook's q(x_s|x_t, x_0) in β and ᾱ.

    `share` of the logarithm of p's variance is that of β, the rest that of q(x_s|x_t, x_0).
    """
    terms = []
    tilde = BETAS[1] * (1 - BAR[0]) / (1 - BAR[1])
    for k in range(10):
        i = 9 - k
        xt = BAR[i] ** 0.5 * x0 + (1 - BAR[i]) ** 0.5 * noise(seeds, x0.shape[1:], Stream.LIKELIHOOD, k).double()
        guess = truth.denoise(xt, (i + 1) / 10).clamp(-1, 1)
        if i == 0:
            nats = -decoder_log_prob(x0, guess, (BETAS[0] ** share * tilde ** (1 - share)) ** 0.5)
        else:
            a = (1 - BETAS[i]) ** 0.5 * (1 - BAR[i - 1]) / (1 - BAR[i])
            b = BAR[i - 1] ** 0.5 * BETAS[i] / (1 - BAR[i])
            std = (BETAS[i] * (1 - BAR[i - 1]) / (1 - BAR[i])) ** 0.5
            own = (BETAS[i] ** share) ** 0.5 * std ** (1 - share)
            nats = kl_divergence(Normal(a * xt + b * x0, std), Normal(a * xt + b * guess, own))
        terms.append(nats.flatten(1).mean(1) * BITS)
    prior = kl_divergence(Normal(BAR[-1] ** 0.5 * x0, (1 - BAR[-1]) ** 0.5), Normal(0.0, 1.0))
    return prior.flatten(1).mean(1) * BITS, torch.stack(terms[:-1], 1), terms[-1]


class TestBound:
    def test_is_the_sum_of_known_divergences(self):
        """Of 40 pictures in three batches, some of whose posterior means lie beyond 1 and are clipped."""
        known, truth = exact(mean=0.7)
        data = gaussian_bytes(40, mean=0.7)
        seen = []
        got = bits_per_dimension(known, data, 40, seed=3, progress=lambda *calls: seen.append(calls))
        x0 = to_unit(data.images).double()
        prior, middle, first = every_term(x0, [(3, n) for n in range(40)], truth)
        expected = {"L_T": prior, "L_1 … L_9": middle.sum(1), "L_0": first}
        assert list(got.parts) == list(expected)
        for name, values in expected.items():
            assert got.parts[name].value == pytest.approx(values.mean().item(), rel=1e-5)
            assert got.parts[name].error == pytest.approx(values.std().item() / 40**0.5, rel=1e-3)
        total = prior + middle.sum(1) + first
        assert got.bits.value == pytest.approx(total.mean().item(), rel=1e-5)
        assert got.bits.error == pytest.approx(total.std().item() / 40**0.5, rel=1e-3)
        assert (got.steps, got.calls) == (10, 10)
        assert seen[0] == (16, 400)
        assert seen[-1] == (400, 400)

    def test_a_picture_has_its_own_noise(self):
        known, truth = exact()
        data = gaussian_bytes(40)
        few = ToldPictures.drawn(known, data, 5, seed=2)
        x0, pairs = to_unit(data.images[few.rows]).double(), [(2, int(row)) for row in few.rows]
        parts = every_term(x0, pairs, truth)
        got = bits_per_dimension(known, data, 5, seed=2)
        assert got.bits.value == pytest.approx((parts[0] + parts[1].sum(1) + parts[2]).mean().item(), rel=1e-5)
        assert list(few.rows) == sorted(few.rows)
        assert list(few.rows) != list(ToldPictures.drawn(known, data, 5, seed=3).rows)

    def test_drawn_terms_count_as_often_as_their_stratum_has_terms(self):
        known, truth = exact()
        data = gaussian_bytes(40)
        got = bits_per_dimension(known, data, 40, terms=4, seed=3)
        _, middle, first = every_term(to_unit(data.images).double(), [(3, n) for n in range(40)], truth)
        told = ToldPictures.drawn(known, data, 40, seed=3)
        other = []
        for number, (bound, sizes) in enumerate(bounds(told, None, 4, "small", "erf", 3)):
            assert sizes.tolist() == [1, 1, 3, 5]
            assert bound.chosen[0] == 9  # L_0
            assert all(
                9 - k in found for k, found in zip(bound.chosen, ([0], [1], [2, 3, 4], range(5, 10)), strict=True)
            )
            rows = slice(2 * number, 2 * number + 2)
            other.append(middle[rows][:, bound.chosen[1:]] @ sizes[1:].double())
        assert len(other) == 20  # at least 16 groups
        assert len({tuple(b.chosen) for b, _ in bounds(told, None, 4, "small", "erf", 3)}) > 5
        assert got.parts["L_0"].value == pytest.approx(first.mean().item(), rel=1e-5)
        assert got.parts["L_1 … L_9"].value == pytest.approx(torch.cat(other).mean().item(), rel=1e-5)
        assert got.calls == 4

    def test_the_standard_error_knows_of_the_draw(self):
        """Equal pictures and a denoiser that always says 0: all that differs between seeds are the terms."""
        known = Known(lambda x, t: torch.zeros_like(x))
        data = Dataset("one", np.full((32, 8, 8, 3), 200, np.uint8), np.zeros((32, 0), np.int64))
        found = [bits_per_dimension(known, data, 32, terms=3, seed=seed).bits for seed in range(60)]
        whole = bits_per_dimension(known, data, 32).bits
        assert whole.error < 1e-9
        spread = np.std([f.value for f in found])
        assert spread > 0.01
        assert np.mean([f.value for f in found]) == pytest.approx(whole.value, abs=4 * spread / 60**0.5)
        assert spread / np.mean([f.error for f in found]) == pytest.approx(1, rel=0.25)

    def test_fewer_steps_are_spread_evenly_over_t(self):
        known, truth = exact(ScheduleConfig("cosine", 20))
        data = gaussian_bytes(8)
        got = bits_per_dimension(known, data, 8, steps=5)
        seeds = [(0, n) for n in range(8)]
        own = variational_bound(
            truth.schedule,
            lambda x, t: truth.denoise(x, t).clamp(-1, 1),
            to_unit(data.images).double(),
            seeds,
            times=[1.0, 0.8, 0.6, 0.4, 0.2, 0.0],
        )
        assert got.bits.value == pytest.approx(own.total.mean().item(), rel=1e-5)
        assert list(got.parts) == ["L_T", "L_1 … L_4", "L_0"]

    def test_other_variances_and_decoders_are_passed_on(self):
        known, _ = exact()
        data = gaussian_bytes(8)
        bits = {
            (variance, decoder): bits_per_dimension(known, data, 8, variance=variance, decoder=decoder).parts
            for variance in ("small", "large")
            for decoder in ("erf", "tanh")
        }
        assert bits["small", "erf"]["L_0"] == bits["large", "erf"]["L_0"] != bits["small", "tanh"]["L_0"]
        assert bits["small", "erf"]["L_1 … L_9"].value < bits["large", "erf"]["L_1 … L_9"].value


class TestLearnedVariance:
    """Of a model that says of every step that its variance is β^0.3·β̃^0.7, or the logarithm of a variance itself."""

    WIDE = replace(NETWORK, labels=(2, 3), out_channels=6)

    def known(self, kind, further) -> Known:
        truth = Gaussian(SHORT.build(), 0.1, 0.2)
        return Known(lambda x, t: truth.denoise(x.double(), t).to(x), SHORT, further, network=self.WIDE, variance=kind)

    def test_is_that_which_the_model_has_learned(self):
        interpolated = self.known("interpolated", lambda x, t: torch.full_like(x, 2 * 0.3 - 1))
        data = gaussian_bytes(20)
        got = bits_per_dimension(interpolated, data, 20, seed=3)
        x0, seeds = to_unit(data.images).double(), [(3, n) for n in range(20)]
        prior, middle, first = every_term(x0, seeds, Gaussian(SHORT.build(), 0.1, 0.2), share=0.3)
        for name, values in {"L_T": prior, "L_1 … L_9": middle.sum(1), "L_0": first}.items():
            assert got.parts[name].value == pytest.approx(values.mean().item(), rel=1e-5)
        assert got.settings["variance"] == "learned"
        free = self.known("free", lambda x, t: torch.full_like(x, math.log(BETAS[round(10 * t) - 1])))
        large = bits_per_dimension(free, data, 20, seed=3, variance="large").parts
        assert bits_per_dimension(free, data, 20, seed=3).parts["L_1 … L_9"].value == pytest.approx(
            large["L_1 … L_9"].value, rel=1e-5
        )

    def test_of_fewer_steps(self):
        """An interpolated variance lies between those of the steps that are taken; a free one is of its own steps."""
        data, low = gaussian_bytes(8), self.known("interpolated", lambda x, t: torch.full_like(x, -1.0))
        got, small = (bits_per_dimension(low, data, 8, steps=5, variance=v) for v in (None, "small"))
        for name, part in small.parts.items():
            assert got.parts[name].value == pytest.approx(part.value, rel=1e-5)
        free = self.known("free", lambda x, t: x)
        with pytest.raises(InputError, match=r"steps of 1/10 and of no others: take 10 steps, or the variance small"):
            bits_per_dimension(free, data, 8, steps=5)
        assert bits_per_dimension(free, data, 8, steps=5, variance="small").settings["variance"] == "small"

    def test_a_variance_that_is_no_number(self):
        with pytest.raises(DivergedError, match="NaN or infinite"):
            bits_per_dimension(self.known("free", lambda x, t: x * math.nan), gaussian_bytes(3), 2)

    def test_on_a_network(self):
        made = model(network=self.WIDE, variance="interpolated", schedule=SHORT)
        got = bits_per_dimension(made, gaussian_bytes(4), 3, terms=4)
        assert got.settings["variance"] == "learned"
        assert got.bits != bits_per_dimension(made, gaussian_bytes(4), 3, terms=4, variance="small").bits


class TestFlow:
    def test_is_the_density_of_a_gaussian(self):
        """Carried back from the prior by the exact flow; its Jacobian is diagonal, so one probe tells the trace."""
        schedule = ScheduleConfig("cosine", 1000)
        known, truth = exact(schedule)
        data = gaussian_bytes(20)
        seen = []
        got = bits_per_dimension(
            known, data, 20, method="flow", steps=40, seed=5, progress=lambda *calls: seen.append(calls)
        )
        x0 = dequantised(to_unit(data.images), [(5, n) for n in range(20)]).double()
        slope = (truth.marginal(1.0)[1] / truth.marginal(0.0)[1]) ** 0.5
        log_density = Normal(0.0, 1.0).log_prob(truth.flow(x0, 0.0, 1.0)) + math.log(slope)
        bits = -log_density.flatten(1).mean(1) * BITS + math.log2(127.5)
        assert got.bits.value == pytest.approx(bits.mean().item(), abs=2e-4)
        assert got.bits.error == pytest.approx(bits.std().item() / 20**0.5, rel=1e-2)
        assert got.parts == {}
        assert (got.steps, got.calls) == (40, 161)
        assert seen[-1] == (20 * 161, 20 * 161)

    def test_the_trace_is_that_of_the_network(self):
        """vᵀJv by automatic differentiation through a real network, against differences."""
        made = model()
        x, t, labels = torch.randn(2, 3, 8, 8), 0.4, torch.zeros(2, 2, dtype=torch.long)
        v = torch.randn(2, 3, 8, 8).sign()
        point = x.clone().requires_grad_()
        (product,) = torch.autograd.grad(made.denoised(point, t, labels), point, v)
        step = 1e-2
        ahead, behind = (made.denoised(x + sign * step * v, t, labels) for sign in (1, -1))
        difference = (v * (ahead - behind) / (2 * step)).flatten(1).sum(1)
        torch.testing.assert_close((product * v).flatten(1).sum(1), difference, rtol=1e-3, atol=1e-3)
        assert not made.denoised(x, t, labels).requires_grad

    def test_on_a_network(self):
        got = bits_per_dimension(model(), labelled(), 2, method="flow", steps=2, probes=2)
        assert math.isfinite(got.bits.value)
        assert got.settings["probes"] == 2


class TestTold:
    def test_labels_by_their_names(self):
        known, _ = exact()
        got = bits_per_dimension(known, labelled(), 6, steps=2)
        assert got.told == "its labels: group, style"
        # the model has group (food, animals) and style (noto, fluent, flat)
        assert known.told[0].labels.tolist() == [[1, 2], [0, 0], [1, -1], [-1, -1], [0, 2], [1, 0]]
        assert (
            bits_per_dimension(known, gaussian_bytes(3), 2, steps=2).told == "nothing, as the data has no such labels"
        )
        bare = Known(lambda x, t: x, network=NETWORK, labels=LabelSet())
        assert bits_per_dimension(bare, labelled(), 2, steps=2).told == "nothing"
        assert bare.told[0].labels.shape == (2, 0)

    def test_a_network_with_self_conditioning_sees_no_guess(self):
        own = Known(
            lambda x, t: x,
            network=replace(NETWORK, in_channels=6, out_channels=3, labels=(2, 3)),
            self_conditioning=True,
        )
        assert bits_per_dimension(own, labelled(), 2, steps=2).told == "its labels: group, style; no guess of its own"

    def test_captions_as_they_are_written(self):
        reader = text_model(schedule=SHORT)
        data = replace(gaussian_bytes(3), captions=("red (apple:1.5)", "blue cat", ""))
        told, own = ToldPictures.drawn(reader, data, 3), reader.reader
        assert own is not None
        said = []
        reader.denoised = lambda x, t, condition: said.append(condition) or x
        told.denoiser(slice(0, 2))(torch.zeros(2, 3, 8, 8), 0.5)
        assert torch.equal(said[0].words, own.learn(data.captions[:2]).words)  # type: ignore
        assert told.told == "its caption"
        bare = ToldPictures.drawn(reader, gaussian_bytes(3), 3)
        bare.denoiser(slice(0, 3))(torch.zeros(3, 3, 8, 8), 0.5)
        assert torch.equal(said[1].words, own.learn([""] * 3).words)  # type: ignore
        assert "no captions" in bare.told


def test_says_all_that_it_depends_on():
    known, _ = exact()
    data = gaussian_bytes(9)
    got = bits_per_dimension(known, data, 4, terms=3, seed=1)
    facts = json.loads(got.to_json())
    assert facts["bits"] == {"value": got.bits.value, "error": got.bits.error}
    assert facts["parts"]["L_0"]["value"] == got.parts["L_0"].value
    assert facts["data_fingerprint"] == data.fingerprint
    for word in ("±", "4 of 9 pictures of bytes", data.fingerprint[:16], "seed 1", "tiny, unsaved weights", "10 steps"):
        assert word in str(got)
    for word in ("3 network calls", "terms 3", "variance small", "decoder erf", "clipped", "L_1 … L_9"):
        assert word in str(got)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"method": "bounds"}, "Did you mean 'bound'"),
            ({"n": 1}, "from 2 to 6"),
            ({"n": 7}, "from 2 to 6"),
            ({"n": True}, "from 2 to 6"),
            ({"n": 2.0}, "from 2 to 6"),
            ({"steps": 1}, "from 2 to 10"),
            ({"steps": 11}, "from 2 to 10"),
            ({"steps": 5.0}, "from 2 to 10"),
            ({"terms": 1}, "from 2 to 10"),
            ({"terms": 11}, "from 2 to 10"),
            ({"variance": "learned"}, "has learned no variance: take the variance small or large"),
            ({"variance": "smal"}, "Did you mean 'small'"),
            ({"decoder": "ert"}, "Did you mean 'erf'"),
            ({"seed": -1}, "a seed is a whole number"),
            ({"probes": 2}, "knows no probes"),
            ({"method": "flow", "terms": 5}, "knows no terms"),
            ({"method": "flow", "decoder": "tanh"}, "knows no decoder"),
            ({"method": "flow", "variance": "large"}, "knows no variance"),
            ({"method": "flow", "steps": 0}, "from 1 on"),
            ({"method": "flow", "probes": 0}, "probes are a whole number"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(InputError, match=message):
            bits_per_dimension(exact()[0], labelled(), **{"n": 3, **arguments})

    def test_models_without_bits_of_pictures(self):
        with pytest.raises(InputError, match="diffuses latents"):
            bits_per_dimension(latent_model(), gaussian_bytes(3), 2)
        with pytest.raises(InputError, match="fills in parts"):
            bits_per_dimension(inpainter(), gaussian_bytes(3), 2)

    def test_pictures_of_another_size(self):
        data = gaussian_bytes(3)
        for images in (data.images[:, :4], data.images[..., :1]):
            with pytest.raises(InputError, match="the model makes"):
                bits_per_dimension(exact()[0], replace(data, images=images), 2)

    def test_a_network_that_fails(self):
        broken = Known(lambda x, t: x * math.nan)
        for method in ("bound", "flow"):
            with pytest.raises(DivergedError, match="NaN or infinite"):
                bits_per_dimension(broken, gaussian_bytes(3), 2, method=method)
