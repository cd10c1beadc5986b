import math

import mpmath
import numpy as np
import pytest
import torch

from exact import doubles
from sfumato.diffusion.decoder import decoder_log_prob, levels
from sfumato.errors import InputError

EVERY = (torch.arange(256, dtype=torch.float64) / 127.5 - 1)[None]  # (1, 256)
MEANS = [-3.0, -1.0, -0.5001, 0.0, 0.3, 0.99, 1.0, 2.0]
STDS = [1e-4, 1e-3, 0.0039, 0.01, 0.1, 1.0, 30.0]


def by_high_precision(level: int, mean: float, std: float) -> float:
    """log of the Gaussian's mass over the level's bin, with 400 digits."""
    with mpmath.workdps(400):
        lower = (
            -mpmath.inf if level == 0 else (mpmath.mpf(2 * level - 1) / 255 - 1 - mpmath.mpf(mean)) / mpmath.mpf(std)
        )
        upper = (
            mpmath.inf if level == 255 else (mpmath.mpf(2 * level + 1) / 255 - 1 - mpmath.mpf(mean)) / mpmath.mpf(std)
        )
        if lower > 0:  # mirrored, so that neither is close to 1
            lower, upper = -upper, -lower
        return float(mpmath.log((mpmath.erfc(-upper / mpmath.sqrt(2)) - mpmath.erfc(-lower / mpmath.sqrt(2))) / 2))


@pytest.mark.parametrize("std", STDS)
@pytest.mark.parametrize("mean", MEANS)
def test_the_256_bins_sum_to_one(mean, std):
    log_p = decoder_log_prob(EVERY, torch.full_like(EVERY, mean), std)
    assert torch.isfinite(log_p).all()
    assert abs(torch.logsumexp(log_p, 1).item()) < 1e-10


@pytest.mark.parametrize("std", [1e-4, 0.01, 0.2, 5.0])
def test_every_digit_is_right_in_the_tails_too(std):
    for mean in (-1.3, 0.1234, 0.5):
        chosen = [0, 1, 60, 127, 128, 142, 143, 200, 254, 255]
        got = decoder_log_prob(EVERY[:, chosen], torch.full((1, len(chosen)), mean, dtype=torch.float64), std)
        expected = torch.tensor([[by_high_precision(level, mean, std) for level in chosen]], dtype=torch.float64)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-13)


def test_tanh_is_the_formula_of_the_original_code():
    mean, std = 0.2 * doubles(1, 256), torch.exp(-3 + doubles(1, 256, seed=1))
    plus = ((EVERY - mean + 1 / 255) / std).numpy()
    minus = ((EVERY - mean - 1 / 255) / std).numpy()

    def phi(z: np.ndarray) -> np.ndarray:
        return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    expected = np.log(np.maximum(phi(plus) - phi(minus), 1e-12))
    expected[:, 0] = np.log(np.maximum(phi(plus), 1e-12))[:, 0]
    expected[:, 255] = np.log(np.maximum(1 - phi(minus), 1e-12))[:, 255]
    got = decoder_log_prob(EVERY, mean, std, "tanh")
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-7)  # (their difference of two numbers near 1)
    assert got.min().item() == pytest.approx(math.log(1e-12))  # the floor is met
    exact = decoder_log_prob(EVERY, mean, std)
    assert (got.exp() - exact.exp()).abs().max() < 4e-4  # twice the error of Φ


def test_density_is_the_normal_density():
    x, mean, std = doubles(2, 5), doubles(2, 5, seed=1), torch.tensor([0.1, 3.0]).double()
    expected = torch.distributions.Normal(mean, std[:, None]).log_prob(x)
    torch.testing.assert_close(decoder_log_prob(x, mean, std, "density"), expected)


def test_a_std_for_each_picture_and_for_each_value():
    x0, mean = EVERY.expand(3, 256), 0.3 * doubles(3, 256)
    std = torch.tensor([0.01, 0.1, 1.0]).double()
    got = decoder_log_prob(x0, mean, std)
    torch.testing.assert_close(got, decoder_log_prob(x0, mean, std[:, None].expand(3, 256)))
    for i in range(3):
        torch.testing.assert_close(got[i], decoder_log_prob(x0[i : i + 1], mean[i : i + 1], std[i].item())[0])


def test_single_precision_pictures_are_taken_as_their_levels():
    mean = torch.zeros(1, 256)
    assert torch.equal(decoder_log_prob(EVERY.float(), mean, 1e-3), decoder_log_prob(EVERY, mean.double(), 1e-3))
    assert torch.equal(levels(EVERY.float())[0], torch.arange(256).double())


@pytest.mark.parametrize("std", [1e-4, 0.05, 2.0])
def test_it_can_be_learned_from(std):
    """The slope is finite everywhere, and that of the log-probability (by finite differences)."""
    mean = (0.2 * doubles(1, 256)).requires_grad_()
    decoder_log_prob(EVERY, mean, std).sum().backward()
    assert mean.grad is not None
    assert torch.isfinite(mean.grad).all()
    step, base = 1e-6 * std, mean.detach()
    slope = (decoder_log_prob(EVERY, base + step, std) - decoder_log_prob(EVERY, base - step, std)) / (2 * step)
    torch.testing.assert_close(mean.grad, slope, rtol=1e-3, atol=1e-3 / std)


@pytest.mark.parametrize(
    ("x0", "std", "decoder", "message"),
    [
        (EVERY, 0.0, "erf", "positive and finite"),
        (EVERY, -1.0, "tanh", "positive and finite"),
        (EVERY, math.nan, "density", "positive and finite"),
        (EVERY, math.inf, "erf", "positive and finite"),
        (EVERY, 0.1, "erv", "Did you mean 'erf'"),
        (EVERY + 0.002, 0.1, "erf", "not one of the 256 levels"),
        (EVERY * 1.1, 0.1, "erf", "not one of the 256 levels"),
        (EVERY + 2 / 255, 0.1, "erf", "not one of the 256 levels"),
        (EVERY * math.nan, 0.1, "tanh", "value of nan is not one"),
    ],
)
def test_bad_input(x0, std, decoder, message):
    with pytest.raises(InputError, match=message):
        decoder_log_prob(x0, torch.zeros_like(x0), std, decoder)
