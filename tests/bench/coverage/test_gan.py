"""A step of a GAN: the gradients that its networks are given."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from bench.coverage.gan import Gan, GanRecipe
from bench.coverage.losses import NON_SATURATING, RELATIVISTIC, GanLoss
from bench.coverage.player import normal
from torch import Tensor, nn

from sfumato.seeds import Stream

SEED, NUMBER, BATCH, LATENT = 3, 11, 8, 4


def linear_gan(loss: GanLoss, penalty: float, lr: float = 0.0) -> tuple[Gan, nn.Linear, nn.Linear]:
    """G(z) = Vz + b and D(x) = w·x + c, and both as layers; a learning rate of 0 leaves them as they are."""
    recipe = GanRecipe(loss, lr=lr, betas=(0.0, 0.99), penalty=penalty, batch=BATCH, latent=LATENT)
    make, tell = nn.Linear(LATENT, 2), nn.Linear(2, 1)
    return Gan(make, nn.Sequential(tell, nn.Flatten(0)), recipe, SEED), make, tell


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_gradients_of_a_relativistic_step(penalty: float) -> None:
    (gan, make, tell), real = linear_gan(RELATIVISTIC, penalty), torch.randn(BATCH, 2)
    losses = gan.step(real, NUMBER)
    first, second = normal(SEED, NUMBER, Stream.TRAIN_NOISE, (2, BATCH, LATENT))
    w = tell.weight
    # d/dw of mean log(1 + exp(D(made) - D(real))), and of γ/2·(‖w‖² + ‖w‖²)
    made = make(first).detach()
    belief = torch.sigmoid((made - real) @ w[0].detach())
    expected = (belief[:, None] * (made - real)).mean(0) + 2 * penalty / 2 * 2 * w[0].detach()
    torch.testing.assert_close(gradient(w)[0], expected)
    torch.testing.assert_close(gradient(tell.bias), torch.zeros(1), atol=1e-7, rtol=0)  # only differences matter
    # by b, that every made picture moves with: -mean σ(D(real) - D(made))·w
    made = make(second).detach()
    belief = torch.sigmoid((real - made) @ w[0].detach())
    torch.testing.assert_close(gradient(make.bias), -belief.mean() * w[0].detach())
    assert losses["penalty"].item() == pytest.approx(2 * (w**2).sum().item() if penalty else 0, rel=1e-5)


def test_gradients_of_a_non_saturating_step() -> None:
    (gan, make, tell), real = linear_gan(NON_SATURATING, 0.0), torch.randn(BATCH, 2)
    gan.step(real, NUMBER)
    first, second = normal(SEED, NUMBER, Stream.TRAIN_NOISE, (2, BATCH, LATENT))
    with torch.no_grad():
        expected = (torch.sigmoid(tell(make(first))) - torch.sigmoid(-tell(real))).mean()
        fooled = -torch.sigmoid(-tell(make(second))).mean() * tell.weight[0]
    torch.testing.assert_close(gradient(tell.bias)[0], expected)
    torch.testing.assert_close(gradient(make.bias), fooled)


@pytest.mark.parametrize(("loss", "penalty"), [(NON_SATURATING, 0.0), (RELATIVISTIC, 0.7)])
def test_both_go_on_learning(loss: GanLoss, penalty: float) -> None:
    """What is held still while the other learns learns again in the next step."""
    gan, make, tell = linear_gan(loss, penalty, lr=1e-2)
    seen = []
    for number in range(3):
        gan.step(torch.randn(BATCH, 2), number)
        seen.append((make.weight.detach().clone(), tell.weight.detach().clone()))
    for earlier, later in pairwise(seen):
        assert not torch.equal(earlier[0], later[0])
        assert not torch.equal(earlier[1], later[1])


def test_samples_come_from_the_average() -> None:
    gan, make, _ = linear_gan(NON_SATURATING, 0.0)
    before = gan.sample(0, 5)
    torch.testing.assert_close(before, make(normal(0, 0, Stream.START, (5, LATENT))).detach())
    with torch.no_grad():
        make.bias.add_(1)
    torch.testing.assert_close(gan.sample(0, 5), before)  # nothing has been averaged since
    gan.step(torch.randn(BATCH, 2), 0)
    share = (gan.sample(0, 5) - before).mean().item()
    assert share == pytest.approx(1 - 0.5 ** (1 / 0.05))  # half is forgotten after a twentieth of what was seen
