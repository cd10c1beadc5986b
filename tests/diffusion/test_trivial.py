"""What the trivial predictor loses, against the predictor itself, run on data and noise."""

import pytest
import torch

from sfumato.diffusion.loss import WEIGHTINGS
from sfumato.diffusion.prediction import PREDICTIONS
from sfumato.diffusion.process import Diffusion
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.diffusion.trivial import trivial_error, trivial_loss

COUNT = 400_000
MEAN, VARIANCE = 0.3, 0.2
SCHEDULES = {"linear": NoiseSchedule.linear(100), "edm": NoiseSchedule.edm(steps=100)}


def drawn(noise_variance=1.0):
    """Values that are anything but normal, of mean and variance as told; and noise."""
    generator = torch.Generator().manual_seed(1)
    sign = torch.where(torch.rand(COUNT, 1, generator=generator, dtype=torch.float64) < 0.5, -1.0, 1.0).double()
    noise = torch.randn(COUNT, 1, generator=generator, dtype=torch.float64)
    return MEAN + VARIANCE**0.5 * sign, noise_variance**0.5 * noise


def output_of_the_best_line(diffusion, x0, noise, t):
    """What a network would put out whose x̂0 is fitted to the draws: the line of least squares through (x_t, x_0)."""
    xt = diffusion.noisy(x0, t, noise)
    basis = torch.cat([torch.ones_like(xt), xt], 1)
    fitted = basis @ torch.linalg.lstsq(basis, x0).solution
    alpha, sigma = diffusion.schedule.alpha(t), diffusion.schedule.sigma(t)
    return {
        "x0": fitted,
        "eps": (xt - alpha * fitted) / sigma,
        "v": (alpha * (xt - alpha * fitted) / sigma - sigma * fitted) / (alpha**2 + sigma**2) ** 0.5,
        "F": (fitted - alpha * 0.25 / (sigma**2 + alpha**2 * 0.25) * xt)
        * (sigma**2 + alpha**2 * 0.25) ** 0.5
        / (sigma * 0.5),
    }[diffusion.prediction]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_its_loss_is_that_of_the_line_of_least_squares(name, prediction):
    """By every weighting, at data's end, in the middle and at the noise's: least squares on two-valued data."""
    diffusion, (x0, noise) = Diffusion(SCHEDULES[name], prediction), drawn()
    for t in (0.01, 0.4, 1.0):
        output, times = output_of_the_best_line(diffusion, x0, noise, t), torch.full((COUNT,), t)
        for weighting in WEIGHTINGS:
            measured = diffusion.loss(output, x0, times, noise, weighting).mean().item()
            told = trivial_loss(weighting, prediction, diffusion.schedule, times[:1], VARIANCE).item()
            assert told == pytest.approx(measured, rel=0.01), (weighting, t)


def test_noise_of_another_variance():
    diffusion, (x0, noise) = Diffusion(SCHEDULES["linear"], "x0"), drawn(1.5)
    for t in (0.1, 0.5):
        output = output_of_the_best_line(diffusion, x0, noise, t)
        told = trivial_error(diffusion.schedule, torch.tensor([t]), VARIANCE, 1.5).item()
        assert told == pytest.approx((output - x0).square().mean().item(), rel=0.01)


def test_pure_noise_tells_nothing_and_no_noise_everything():
    schedule = NoiseSchedule.cosine(100).zero_terminal_snr()
    last, first = trivial_error(schedule, torch.tensor([1.0, 0.0]), VARIANCE).tolist()
    assert (last, first) == (pytest.approx(VARIANCE), 0)
    for weighting in WEIGHTINGS:
        for prediction in ("x0", "v", "F"):
            assert trivial_loss(weighting, prediction, schedule, torch.tensor([1.0]), VARIANCE).isfinite()
