"""A step of a GAN: the gradients that its networks are given."""

from __future__ import annotations

import pytest
import torch
from bench.coverage.gan import Gan, GanRecipe
from bench.coverage.losses import NON_SATURATING, RELATIVISTIC
from bench.coverage.player import normal
from torch import nn

from sfumato.seeds import Stream

SEED, NUMBER, BATCH, LATENT = 3, 11, 8, 4


def linear_gan(loss, penalty: float) -> Gan:
    """D(x) = w·x + c and G(z) = Vz + b; a learning rate of 0 leaves them as they are."""
    recipe = GanRecipe(loss, lr=0.0, betas=(0.0, 0.99), penalty=penalty, batch=BATCH, latent=LATENT)
    return Gan(nn.Linear(LATENT, 2), nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)), recipe, SEED)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_gradients_of_a_relativistic_step(penalty: float) -> None:
    gan, real = linear_gan(RELATIVISTIC, penalty), torch.randn(BATCH, 2)
    losses = gan.step(real, NUMBER)
    first, second = normal(SEED, NUMBER, Stream.TRAIN_NOISE, (2, BATCH, LATENT))
    w, c = gan.discriminator[0].weight, gan.discriminator[0].bias  # type: ignore
    # d/dw of mean log(1 + exp(D(made) - D(real))), and of γ/2·(‖w‖² + ‖w‖²)
    made = gan.generator(first).detach()
    belief = torch.sigmoid((made - real) @ w[0].detach())
    expected = (belief[:, None] * (made - real)).mean(0) + 2 * penalty / 2 * 2 * w[0].detach()
    torch.testing.assert_close(w.grad[0], expected)
    torch.testing.assert_close(c.grad, torch.zeros(1), atol=1e-7, rtol=0)  # only differences matter
    # by b, that every made picture moves with: -mean σ(D(real) - D(made))·w
    made = gan.generator(second).detach()
    belief = torch.sigmoid((real - made) @ w[0].detach())
    torch.testing.assert_close(gan.generator.bias.grad, -belief.mean() * w[0].detach())
    assert losses["penalty"].item() == pytest.approx(2 * (w**2).sum().item() if penalty else 0, rel=1e-5)


def test_gradients_of_a_non_saturating_step() -> None:
    gan, real = linear_gan(NON_SATURATING, 0.0), torch.randn(BATCH, 2)
    gan.step(real, NUMBER)
    first, second = normal(SEED, NUMBER, Stream.TRAIN_NOISE, (2, BATCH, LATENT))
    with torch.no_grad():
        tell, made = gan.discriminator, gan.generator(first)
        expected = (torch.sigmoid(tell(made)) - torch.sigmoid(-tell(real))).mean()
        fooled = -torch.sigmoid(-tell(gan.generator(second))).mean() * tell[0].weight[0]  # type: ignore
    torch.testing.assert_close(gan.discriminator[0].bias.grad[0], expected)  # type: ignore
    torch.testing.assert_close(gan.generator.bias.grad, fooled)


def test_samples_come_from_the_average() -> None:
    gan = linear_gan(NON_SATURATING, 0.0)
    before = gan.sample(0, 5)
    torch.testing.assert_close(before, gan.generator(normal(0, 0, Stream.START, (5, LATENT))).detach())
    with torch.no_grad():
        gan.generator.bias += 1  # type: ignore
    torch.testing.assert_close(gan.sample(0, 5), before)  # nothing has been averaged since
    gan.step(torch.randn(BATCH, 2), 0)
    share = (gan.sample(0, 5) - before).mean().item()
    assert share == pytest.approx(1 - 0.5 ** (1 / 0.05))  # half is forgotten after a twentieth of what was seen
