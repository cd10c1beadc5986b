"""Diffusion as a contestant: its times, and sampling where truth is known."""

from __future__ import annotations

import pytest
import torch
from bench.coverage.diffuser import Diffuser, DiffuserRecipe, times
from bench.coverage.player import normal
from torch import Tensor, nn

from exact import Gaussian
from sfumato.seeds import Stream


class Exact(nn.Module):
    """The network that knows N(0.3, 0.5²): v = (α·x - x̂0)/σ."""

    def __init__(self, truth: Gaussian) -> None:
        super().__init__()
        self.truth = truth
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: float) -> Tensor:
        schedule = self.truth.schedule
        return (schedule.alpha(t) * x - self.truth.denoise(x, t)) / schedule.sigma(t)


def test_sampling_follows_the_exact_flow() -> None:
    recipe = DiffuserRecipe(lr=0.0, batch=4, clipped=False)
    schedule = Diffuser(nn.Linear(1, 1), recipe, (2,), seed=0).diffusion.schedule
    truth = Gaussian(schedule)
    diffuser = Diffuser(Exact(truth), recipe, (2,), seed=0)
    exact = truth.flow(normal(5, 0, Stream.START, (1200, 2)), 1.0, 0.0)
    errors = {way: (draw(5, 1200) - exact).square().mean().sqrt().item() for way, draw in diffuser.ways.items()}
    assert errors["20 steps"] < 0.01
    assert errors["50 steps"] < errors["20 steps"] / 3


def test_pictures_stay_within_their_range() -> None:
    schedule = Diffuser(nn.Linear(1, 1), DiffuserRecipe(0.0, 4, False), (2,), seed=0).diffusion.schedule
    wide = Exact(Gaussian(schedule, mean=0.0, std=2.0))
    held = Diffuser(wide, DiffuserRecipe(0.0, 4, clipped=True), (2,), seed=0).sample(0, 100, steps=20)
    free = Diffuser(wide, DiffuserRecipe(0.0, 4, clipped=False), (2,), seed=0).sample(0, 100, steps=20)
    assert held.abs().max() <= 1 < free.abs().max()


def test_times_are_spread_evenly() -> None:
    t = times(1, 2, 64, 1000)
    steps = (t * 1000).round()
    torch.testing.assert_close(t, steps / 1000)
    assert steps.min() >= 1
    assert steps.max() <= 1000
    gaps = steps.sort().values.diff()
    assert gaps.min() >= 15
    assert gaps.max() <= 16  # 1000/64 = 15.6
    assert torch.equal(t, times(1, 2, 64, 1000))
    assert not torch.equal(t, times(1, 3, 64, 1000))


def test_all_steps_are_seen() -> None:
    seen = {round(t * 10) for number in range(30) for t in times(0, number, 4, 10).tolist()}
    assert seen == set(range(1, 11))


def test_a_step_weighs_v_evenly() -> None:
    """Loss: E ‖v̂ - v‖², v = α·ε - σ·x_0; of a network that says 0 it is E ‖v‖², and 1 for data like the noise."""
    silent = nn.Linear(2, 2)
    nn.init.zeros_(silent.weight)
    nn.init.zeros_(silent.bias)

    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = silent

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.layer(x)

    diffuser = Diffuser(Silent(), DiffuserRecipe(0.0, 4, False), (2,), seed=0)
    loss = diffuser.step(torch.randn(20_000, 2), 0)["denoiser"].item()
    assert loss == pytest.approx(1, abs=0.02)
