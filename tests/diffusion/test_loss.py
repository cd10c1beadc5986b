import numpy as np
import pytest
import torch

from exact import SCHEDULES, doubles
from sfumato.diffusion.forward import posterior_coefficients
from sfumato.diffusion.loss import WEIGHTINGS, check_weighting, output_weight, x0_weight
from sfumato.diffusion.prediction import PREDICTIONS, from_x0
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError

T = torch.tensor([0.001, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)


@pytest.mark.parametrize("name", ["linear", "cosine", "edm"])
@pytest.mark.parametrize("weighting", [w for w in WEIGHTINGS if w != "simple"])
def test_a_weighting_is_the_same_loss_for_every_prediction(name, weighting):
    """An x̂0 that is off by a known amount costs w(λ)·error², whatever the network puts out."""
    schedule = SCHEDULES[name]
    x0, off, eps = doubles(5, 1, 2, 2), doubles(5, 1, 2, 2, seed=1), doubles(5, 1, 2, 2, seed=2)
    expected = x0_weight(weighting, schedule, T) * off.square().mean((1, 2, 3))
    for prediction in PREDICTIONS:
        diffusion = Diffusion(schedule, prediction)
        alpha, sigma = (f(T)[:, None, None, None] for f in (schedule.alpha, schedule.sigma))
        xt = diffusion.noisy(x0, T, eps)
        guess = x0 + off
        output = from_x0(prediction, guess, (xt - alpha * guess) / sigma, alpha, sigma)
        torch.testing.assert_close(diffusion.loss(output, x0, T, eps, weighting), expected, rtol=1e-6, atol=1e-9)


def test_simple_is_the_plain_error_of_the_output():
    diffusion = Diffusion(SCHEDULES["cosine-zsnr"], "v")
    x0, eps, output = doubles(5, 1, 2, 2), doubles(5, 1, 2, 2, seed=1), doubles(5, 1, 2, 2, seed=2)
    plain = (output - diffusion.target(x0, T, eps)).square().mean((1, 2, 3))
    torch.testing.assert_close(diffusion.loss(output, x0, T, eps), plain)


def test_named_weights_by_their_formulas():
    schedule = SCHEDULES["linear"]
    a2 = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))[[0, 99, 499, 899, 998]]
    snr = a2 / (1 - a2)
    by_hand = {
        "eps": snr,
        "x0": np.ones(5),
        "v": snr + 1,
        "min-snr": np.minimum(snr, 5),
        "soft-min-snr": 1 / (1 / snr + 1 / 5),
        "p2": snr / (1 + snr),
        "edm": (1 / snr + 0.25) / (1 / snr * 0.25),
    }
    for weighting, expected in by_hand.items():
        np.testing.assert_allclose(
            x0_weight(check_weighting(weighting), schedule, T).numpy(), expected, rtol=1e-8, err_msg=weighting
        )


@pytest.mark.parametrize("name", ["linear", "cosine", "short"])
def test_vlb_weight_is_the_kl_between_two_gaussians(name):
    """KL(N(m₁, v) ‖ N(m₂, v)) = (m₁ - m₂)²/2v, with means that differ by b·(x_0 - x̂0): weight b²/2v, T times."""
    schedule = SCHEDULES[name]
    steps = schedule.steps
    for i in (2, steps // 2, steps):
        t, s = i / steps, (i - 1) / steps
        _, b, v = posterior_coefficients(schedule, s, t)
        weight = x0_weight("vlb", schedule, torch.tensor([t], dtype=torch.float64)).item()
        assert weight == pytest.approx(steps * b**2 / (2 * v), rel=1e-6)


def test_weights_are_finite_at_zero_terminal_snr():
    schedule, end = SCHEDULES["cosine-zsnr"], torch.tensor([1.0])
    for weighting in WEIGHTINGS:
        for prediction in ("x0", "v"):
            assert output_weight(weighting, prediction, schedule, end).isfinite().all(), (weighting, prediction)


def test_unknown_weighting_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'min-snr'"):
        output_weight("minsnr", "v", SCHEDULES["linear"], T)  # type: ignore[arg-type]
