"""The objective: what it compares, what its gradients reach, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from factory import config
from sfumato.data.dataset import Dataset
from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.learned import bound_terms
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.networks.condition import Condition
from sfumato.training.batches import Batches
from sfumato.training.objective import Objective
from sfumato.training.objective_config import ObjectiveConfig
from sfumato.training.times import on_steps

COUNT = 6
LINEAR = ScheduleConfig("linear", 1000, zero_terminal_snr=False)
CPU = torch.device("cpu")


def batch(**options):
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 3), dtype=np.uint8)
    return Batches(Dataset("d", images, np.zeros((COUNT, 0), np.int64)), 0, **options).at(0, COUNT)


def made(tmp_path, **changes) -> Objective:
    cfg = config("", tmp_path, **changes)
    return Objective(cfg, Diffusion(cfg.schedule.build(), cfg.prediction, cfg.objective.sigma_data), CPU)


class Constant:
    """A network that puts out one tensor, and keeps what it was shown."""

    def __init__(self, *shape: int) -> None:
        self.output = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        self.calls: list[tuple[torch.Tensor, torch.Tensor, Condition]] = []

    def __call__(self, x: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        self.calls.append((x, t, condition))
        return self.output[: len(x)]

    def gradient(self, losses: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(losses.sum(), self.output, retain_graph=True)[0]


def test_by_default_it_is_the_weighted_squared_error_and_has_no_state(tmp_path):
    objective, network, b = made(tmp_path, weighting="min-snr"), Constant(COUNT, 3, 4, 4), batch()
    t = on_steps(b.fraction, 1000)
    expected = objective.diffusion.loss(network.output, b.x0, t, b.noise, "min-snr")
    assert torch.equal(objective(network, b, Condition()), expected)
    x, told, _ = network.calls[0]
    assert torch.equal(told, t)
    assert torch.equal(x, objective.diffusion.noisy(b.x0, t, b.noise))
    assert not objective.state_dict()
    assert not list(objective.parameters())


@pytest.mark.parametrize("variance", ["free", "interpolated"])
def test_in_the_hybrid_loss_the_bound_does_not_reach_the_mean(tmp_path, variance):
    """Nichol & Dhariwal 2021, section 3.1: to the prediction, L_hybrid is L_simple to the last bit; the variance
    learns from λ·T·L_t alone."""
    learned = made(tmp_path, prediction="eps", schedule=LINEAR, objective=ObjectiveConfig(variance=variance))
    plain, network, b = made(tmp_path, prediction="eps", schedule=LINEAR), Constant(COUNT, 6, 4, 4), batch()
    losses = learned(network, b, Condition())
    half = Constant(COUNT, 3, 4, 4)
    half.output = network.output.detach()[:, :3].clone().requires_grad_()
    simple = plain(half, b, Condition())
    assert torch.equal(network.gradient(losses)[:, :3], half.gradient(simple))
    t, raw = on_steps(b.fraction, 1000), network.output.detach()[:, 3:].clone().requires_grad_()
    guess = learned.diffusion.denoised(half.output.detach(), learned.diffusion.noisy(b.x0, t, b.noise), t)
    terms = bound_terms(variance, learned.diffusion.schedule, b.x0, guess, raw, t)
    torch.testing.assert_close(losses, simple + 0.001 * 1000 * terms)
    torch.testing.assert_close(network.gradient(losses)[:, 3:], torch.autograd.grad(terms.sum(), raw)[0])


def test_the_whole_bound_reaches_the_mean_too(tmp_path):
    """With the variance at its lower end, T·L_t is T·b²/2v·‖x_0 - x̂0‖²: the weighting vlb of a fixed variance."""
    asked = ObjectiveConfig(variance="interpolated")
    whole = made(tmp_path, prediction="eps", schedule=LINEAR, weighting="vlb", objective=asked)
    fixed = made(tmp_path, prediction="eps", schedule=LINEAR, weighting="vlb")
    network, b = Constant(COUNT, 6, 4, 4), batch()
    network.output = torch.cat([network.output.detach()[:, :3], -torch.ones(COUNT, 3, 4, 4)], 1).requires_grad_()
    half = Constant(COUNT, 3, 4, 4)
    half.output = network.output.detach()[:, :3].clone().requires_grad_()
    losses, expected = whole(network, b, Condition()), fixed(half, b, Condition()) / np.log(2)
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(network.gradient(losses)[:, :3], half.gradient(expected), rtol=1e-3, atol=1e-6)


def test_the_expected_whole_bound_is_that_of_gaussian_data(tmp_path):
    """At one step, over many draws: KL between Gaussians in closed form, for the perfect network of Gaussian data."""
    steps, t = 10, 0.6
    schedule = ScheduleConfig("linear", steps, False, 0.3, 0.9)
    diffusion = Diffusion(schedule.build(), "x0")
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(1, 200_000, generator=generator).double() for _ in range(2))
    x0 = 0.5 * x0
    alpha, sigma = diffusion.schedule.alpha(t), diffusion.schedule.sigma(t)
    guess = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2) * (alpha * x0 + sigma * eps)
    unknown = 0.25 * sigma**2 / (alpha**2 * 0.25 + sigma**2)
    betas = np.linspace(0.3, 0.9, steps)
    bar = np.cumprod(1 - betas)
    v, b2 = betas[5] * (1 - bar[4]) / (1 - bar[5]), bar[4] * betas[5] ** 2 / (1 - bar[5]) ** 2
    for own in (v, betas[5], v + b2 * unknown):
        raw = torch.full_like(x0, np.log(own))
        got = bound_terms("free", diffusion.schedule, x0, guess, raw, torch.tensor([t])).mean().item()
        expected = (v / own - 1 - np.log(v / own) + b2 * unknown / own) / 2 / np.log(2)
        assert got == pytest.approx(expected, rel=0.01)


def test_importance_weighs_what_it_draws_and_learns_what_it_heard_after_the_step(tmp_path):
    objective = made(
        tmp_path,
        schedule=ScheduleConfig("linear", 2, False, 0.9, 0.99),
        prediction="eps",
        objective=ObjectiveConfig(times="importance"),
    )
    assert objective.importance is not None
    for _ in range(10):
        objective.importance.learn(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 9.0]))
    network, b = Constant(COUNT, 3, 4, 4), batch()
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    losses = objective(network, b, Condition())
    t, weights = objective.importance.draw(b.fraction)
    plain = objective.diffusion.loss(network.output, b.x0, t, b.noise)
    torch.testing.assert_close(losses, plain * weights.float())
    assert all(torch.equal(before[key], value) for key, value in objective.state_dict().items())
    objective.settle()
    assert objective.importance.heard.sum() == 20 + COUNT
    assert plain[0].item() in objective.importance.losses.float().flatten().tolist()
    objective.settle()
    assert objective.importance.heard.sum() == 20 + COUNT


def test_uncertainty_is_a_weight_and_its_price(tmp_path):
    objective, network, b = (
        made(tmp_path, objective=ObjectiveConfig(uncertainty=True)),
        Constant(COUNT, 3, 4, 4),
        batch(),
    )
    assert objective.uncertainty is not None
    torch.nn.init.normal_(objective.uncertainty.layer.weight)
    t = on_steps(b.fraction, 1000)
    u = objective.uncertainty(objective.diffusion.schedule.log_snr(t))
    plain = objective.diffusion.loss(network.output, b.x0, t, b.noise)
    torch.testing.assert_close(objective(network, b, Condition()), plain * torch.exp(-u) + u)
    assert len(list(objective.parameters())) == 1


def test_self_conditioning_shows_a_guess_without_gradients_for_half_of_the_pictures(tmp_path):
    objective, network, b = (
        made(tmp_path, objective=ObjectiveConfig(self_conditioning=True)),
        Constant(COUNT, 3, 4, 4),
        batch(),
    )
    rows = torch.from_numpy(b.guessed)
    assert 0 < rows.sum() < COUNT
    losses = objective(network, b, Condition(labels=torch.arange(COUNT)[:, None]))
    (x1, t1, first), (x2, t2, second) = network.calls
    assert torch.equal(x1, x2[rows])
    assert torch.equal(t1, t2[rows])
    assert first.pictures is not None
    assert second.pictures is not None
    assert first.labels is not None
    assert not first.pictures.any()
    assert first.labels[:, 0].tolist() == torch.arange(COUNT)[rows].tolist()
    assert not second.pictures[~rows].any()
    expected = objective.diffusion.denoised(network.output[: int(rows.sum())], x1, t1).clamp(-1, 1)
    assert torch.equal(second.pictures[rows], expected)
    assert not second.pictures.requires_grad
    assert losses.requires_grad


def test_half_of_all_pictures_are_guessed():
    images = np.zeros((4, 2, 2, 3), np.uint8)
    guessed = Batches(Dataset("d", images, np.zeros((4, 0), np.int64)), 0).at(0, 2000).guessed
    assert guessed.mean() == pytest.approx(0.5, abs=0.04)


def test_offset_noise_is_one_number_a_channel():
    plain, offset = batch().noise, batch(offset_noise=0.2).noise
    moved = (offset - plain) / 0.2
    torch.testing.assert_close(moved, moved[:, :, :1, :1].expand_as(moved), rtol=1e-4, atol=1e-5)
    assert moved[:, :, 0, 0].unique().numel() == COUNT * 3
    assert 0.6 < moved[:, :, 0, 0].std() < 1.4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weighting": "vlb", "objective": ObjectiveConfig(times="continuous")}, "not of continuous times"),
        ({"weighting": "vlb", "objective": ObjectiveConfig(times="log-normal")}, "not of log-normal times"),
        ({"weighting": "vlbs"}, "Did you mean 'vlb'"),
        ({"schedule": replace(LINEAR, steps=1), "objective": ObjectiveConfig(variance="free")}, "no variance to learn"),
    ],
)
def test_what_does_not_go_together(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        made(tmp_path, **changes)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"variance": "free", "times": "continuous"}, "that of the schedule's steps"),
        ({"log_normal": (0.0, 0.0)}, "standard deviation above 0"),
        ({"log_normal": (float("nan"), 1.0)}, "standard deviation above 0"),
        ({"offset_noise": -0.1}, "from 0 to 1"),
        ({"offset_noise": float("nan")}, "from 0 to 1"),
        ({"sigma_data": 0.0}, "above 0"),
    ],
)
def test_impossible_settings(asked, message):
    with pytest.raises(InputError, match=message):
        ObjectiveConfig(**asked)


def test_a_network_of_the_wrong_width_is_told(tmp_path):
    objective = made(tmp_path, prediction="eps", schedule=LINEAR, objective=ObjectiveConfig(variance="free"))
    with pytest.raises(InputError, match="doubles the channels"):
        objective(Constant(COUNT, 3, 4, 4), batch(), Condition())
