import pytest
import torch

from exact import SCHEDULES, doubles
from labelled import Labelled, tweedie
from sfumato import solvers
from sfumato.errors import InputError
from sfumato.guidance.classifier import classifier_guidance

FINITE = {name: schedule for name, schedule in SCHEDULES.items() if schedule.terminal_snr > 0}


def unconditional(mixture):
    return lambda x, t: mixture.denoise(x, t, torch.full((len(x), 1), -1))


def guided(mixture, label, scale=1.0):
    return classifier_guidance(
        unconditional(mixture), lambda x, t: mixture.log_posterior(x, t, label), scale, mixture.schedule
    )


@pytest.mark.parametrize("t", [0.001, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_with_the_exact_classifier_scale_one_is_the_conditional_denoiser(schedule, t):
    mixture = Labelled(schedule)
    x = doubles(6, 4) * (schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2) ** 0.5
    for label in range(3):
        expected = mixture.denoise(x, t, torch.full((6, 1), label))
        torch.testing.assert_close(guided(mixture, label)(x, t), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_is_the_score_of_the_density_times_the_posterior_to_the_scale(scale, t):
    """The score of p(x_t)·p(y|x_t)^s, from the densities themselves."""
    schedule, x = SCHEDULES["cosine"], doubles(5, 4)
    mixture = Labelled(schedule)

    def steered(x):
        return mixture.log_density(x, t) + scale * mixture.log_posterior(x, t, 1)

    expected = tweedie(schedule, steered, x, t)
    torch.testing.assert_close(guided(mixture, 1, scale)(x, t), expected, rtol=1e-10, atol=1e-10)


def test_is_algorithm_2_of_the_paper():
    """ε̂' = ε̂ - s·√(1 - ᾱ)·∇ log p(y|x_t), and x̂0 from that."""
    schedule, x, t = SCHEDULES["linear"], doubles(5, 4), 0.6
    mixture, alpha_bar = Labelled(schedule), schedule.alpha(t) ** 2
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_posterior(point, t, 2).sum(), point)
    eps = (x - alpha_bar**0.5 * unconditional(mixture)(x, t)) / (1 - alpha_bar) ** 0.5
    eps = eps - 2.0 * (1 - alpha_bar) ** 0.5 * gradient
    expected = (x - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5
    torch.testing.assert_close(guided(mixture, 2, 2.0)(x, t), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", FINITE.values(), ids=FINITE)
def test_a_whole_solution_is_that_of_the_conditional_model(schedule):
    mixture, table = Labelled(schedule), solvers.get("ddim", schedule, steps=10)
    start = doubles(4, 3) * schedule.prior_scale()
    for label in range(3):
        exact = solvers.solve(lambda x, t, y=label: mixture.denoise(x, t, torch.full((4, 1), y)), start, table)
        torch.testing.assert_close(solvers.solve(guided(mixture, label), start, table), exact, rtol=1e-8, atol=1e-8)


def test_where_no_picture_is_left_there_is_no_guidance():
    """α = 0 at t = 1: the classifier, which may answer anything there, is not even asked."""
    schedule, x = SCHEDULES["cosine-zsnr"], doubles(4, 3)
    mixture, asked = Labelled(schedule), []

    def careless(x, t):
        asked.append(t)
        return (100 * x).sum(1)

    denoise = unconditional(mixture)
    steered = classifier_guidance(denoise, careless, 1.0, schedule)
    assert torch.equal(steered(x, 1.0), denoise(x, 1.0))
    assert asked == []
    assert steered(x, 0.999).isfinite().all()
    assert asked == [0.999]


def test_what_is_left_out_there_is_the_limit_of_the_product():
    """σ²/α·∇ log p(y|x_t) tends to E[x_0|y] - E[x_0] as α falls to 0, though the gradient itself tends to 0."""
    schedule, x, t = SCHEDULES["cosine-zsnr"], doubles(4, 3), 1 - 1e-7
    mixture = Labelled(schedule)
    total = sum(m * p for m, p in zip(mixture.mean, mixture.share, strict=True))
    for label in range(3):
        added = guided(mixture, label)(x, t) - unconditional(mixture)(x, t)
        torch.testing.assert_close(added, torch.full_like(x, mixture.mean[label] - total), rtol=0, atol=1e-5)


def test_leaving_it_out_there_shifts_a_solution_by_little():
    """With zero terminal SNR and 50 steps the pictures still land where the conditional model puts them."""
    schedule, start = SCHEDULES["cosine-zsnr"], doubles(20, 3)
    mixture, table = Labelled(schedule), solvers.get("ddim", schedule, steps=50)
    for label in range(3):
        exact = solvers.solve(lambda x, t, y=label: mixture.denoise(x, t, torch.full((20, 1), y)), start, table)
        found = solvers.solve(guided(mixture, label), start, table)
        assert 0 < (found - exact).abs().max() < 0.05


def test_scale_zero_is_the_denoiser_itself():
    def denoise(x, t):
        return x

    assert classifier_guidance(denoise, lambda x, t: x.sum(1), 0.0, SCHEDULES["cosine"]) is denoise


def test_works_within_no_grad_and_leaves_no_graph():
    mixture, x = Labelled(SCHEDULES["cosine"]), doubles(2, 3)
    with torch.no_grad():
        inside = guided(mixture, 1)(x, 0.5)
    outside = guided(mixture, 1)(x, 0.5)
    assert torch.equal(inside, outside)
    assert not outside.requires_grad
    assert not x.requires_grad


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_wrong_scales(scale):
    with pytest.raises(InputError, match="classifier_scale is a number from 0"):
        guided(Labelled(SCHEDULES["cosine"]), 0, scale)
