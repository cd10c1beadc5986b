"""Contestants are of equal size, learn, and depend on their seed alone."""

from __future__ import annotations

import pytest
import torch
from bench.coverage.contestants import CONTESTANTS, TRIED, contestant
from bench.coverage.diffuser import Diffuser
from bench.coverage.digits import DigitNet
from bench.coverage.gan import Gan
from bench.coverage.gaussians import Gaussians
from bench.coverage.networks import WAVES, Denoiser, Residual, Waves, count, mlp
from bench.coverage.problem import Problem
from bench.coverage.stacked import StackedMnist
from bench.coverage.trial import Plan, trial
from torch import nn

from sfumato.errors import DivergedError


def problems() -> list[Problem]:
    digits = torch.rand(20, 1, 12, 12) * 2 - 1
    return [Gaussians(), StackedMnist(digits, digits, DigitNet().eval().requires_grad_(False))]


@pytest.mark.parametrize("problem", problems(), ids=lambda problem: problem.name)
def test_what_samples_is_of_equal_size(problem: Problem) -> None:
    """The rule: generator and denoiser within 5 %; a discriminator on top, no larger, and not smaller by a fifth."""
    sizes = {name: contestant(problem, name, TRIED[name][0], 0).parameters for name in CONTESTANTS}
    samplers = [size["denoiser"] if "denoiser" in size else size["generator"] for size in sizes.values()]
    assert max(samplers) / min(samplers) < 1.05
    for name in ("dcgan", "r3gan"):
        assert 0.8 < sizes[name]["discriminator"] / sizes[name]["generator"] <= 1


def test_parameters_are_counted() -> None:
    assert count(mlp([3, 5, 5, 2], nn.ReLU)) == (3 * 5 + 5) + (5 * 5 + 5) + (5 * 2 + 2)
    assert count(mlp([3, 5, 2], nn.ReLU, batch_norm=True)) == (3 * 5 + 5) + 2 * 5 + (5 * 2 + 2)
    assert count(Denoiser(10, 128, 3)) == count(mlp([32, 128, 128, 128, 2], nn.SiLU))


def test_waves_are_of_length_four_and_halves() -> None:
    """After a wave's length it is the same again; the second octave already after half of it."""
    x = torch.tensor([[0.3, -0.7]])
    assert Waves()(x).shape == (1, WAVES)
    torch.testing.assert_close(Waves()(x + 4)[:, 2:], Waves()(x)[:, 2:], atol=1e-4, rtol=0)
    moved = (Waves()(x + 2) - Waves()(x))[:, 2:].reshape(2, 2, Waves.OCTAVES)  # sines or cosines, coordinate, octave
    assert moved[:, :, 0].abs().min() > 0.1
    assert moved[:, :, 1:].abs().max() < 1e-4


def test_a_residual_block_begins_as_the_identity() -> None:
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(Residual(8)(x), x)


@pytest.mark.parametrize("problem", problems(), ids=lambda problem: problem.name)
@pytest.mark.parametrize("name", CONTESTANTS)
def test_a_tiny_trial(problem: Problem, name: str) -> None:
    """From the first step to the report, twice: equal seeds give equal samples."""
    plan = Plan(steps=3, looks=2, n_look=20, n=30)
    found, samples = trial(problem, contestant(problem, name, TRIED[name][0], 1), plan, 1)
    again, same = trial(problem, contestant(problem, name, TRIED[name][0], 1), plan, 1)
    assert torch.equal(samples, same)
    assert samples.shape == (30, *problem.shape)
    assert [look["steps"] for look in found["curve"]] == [1, 3]
    assert [look["losses"] for look in found["curve"]] == [look["losses"] for look in again["curve"]]
    assert list(found["final"]) == (["20 steps", "50 steps"] if name == "diffusion" else ["1 call"])
    for judged in found["final"].values():
        assert judged["n"] == 30
        assert 0 <= judged["coverage"] <= 1
    _, other = trial(problem, contestant(problem, name, TRIED[name][0], 2), plan, 1)
    assert not torch.equal(samples, other)


@pytest.mark.parametrize("name", CONTESTANTS)
def test_a_loss_that_is_not_finite_stops_the_trial(name: str) -> None:
    player = contestant(Gaussians(), name, TRIED[name][0], 0)
    assert isinstance(player, Diffuser | Gan)
    network = player.network if isinstance(player, Diffuser) else player.discriminator
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match="before step 1"):
        trial(Gaussians(), player, Plan(1, 1, 20, 20), 0)


@pytest.mark.parametrize("name", CONTESTANTS)
def test_they_learn(name: str) -> None:
    """One Gaussian out of the middle: after some steps the samples lie there."""
    problem = Gaussians()
    player = contestant(problem, name, TRIED[name][2 if name != "r3gan" else 1], 0)
    real = 0.8 + 0.1 * torch.randn(256, 2)
    for number in range(250):
        player.step(real, number)
    samples = next(iter(player.ways.values()))(0, 200)
    assert (samples.mean(0) - 0.8).abs().max() < 0.2
