"""A generator and a discriminator that learn against each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from bench.coverage.losses import GanLoss, gradient_penalty
from bench.coverage.networks import count
from bench.coverage.player import Averaged, Parameters, Ways, normal
from torch import Tensor, nn

from sfumato.seeds import Stream

__all__ = ["Gan", "GanRecipe"]

AT_ONCE = 500  # samples; where there is batch normalisation they share their statistics


@dataclass(frozen=True)
class GanRecipe:
    """How a GAN learns.

    Attributes:
        loss: of both networks.
        lr, betas: Adam's, for both.
        penalty: γ of γ/2·(R1 + R2), the gradient penalties on real and on made pictures; 0: none.
        batch: pictures a step.
        latent: width of the noise that is made into a picture.
    """

    loss: GanLoss
    lr: float
    betas: tuple[float, float]
    penalty: float
    batch: int
    latent: int


class Gan:
    """See `player.Player`. A step is one of the discriminator, then one of the generator on fresh noise."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, recipe: GanRecipe, seed: int) -> None:
        for network in (generator, discriminator):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker, as the U-Net's is
        self.generator, self.discriminator, self.recipe, self.seed = generator, discriminator, recipe, seed
        self.batch = recipe.batch
        self.parameters: Parameters = {"generator": count(generator), "discriminator": count(discriminator)}
        self.ways: Ways = {"1 call": self.sample}
        self._average = Averaged(generator)
        self._learn_to_make, self._learn_to_tell = (
            torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=recipe.betas, fused=True)
            for network in (generator, discriminator)
        )

    def step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        recipe = self.recipe
        noise = normal(self.seed, number, Stream.TRAIN_NOISE, (2, len(real), recipe.latent))
        with torch.no_grad():
            made = self.generator(noise[0])
        telling, penalty = self._tell(real, made)
        self._learn_to_tell.zero_grad()
        (telling + recipe.penalty / 2 * penalty).backward()
        self._learn_to_tell.step()

        self.discriminator.requires_grad_(False)
        told = self.discriminator(real) if recipe.loss.compares else torch.zeros(len(real))
        making = recipe.loss.generator(told, self.discriminator(self.generator(noise[1])))
        self._learn_to_make.zero_grad()
        making.backward()
        self._learn_to_make.step()
        self.discriminator.requires_grad_(True)
        self._average.update(len(real), (number + 1) * len(real))
        return {"discriminator": telling.detach(), "generator": making.detach(), "penalty": penalty.detach()}

    def _tell(self, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's loss, and R1 + R2."""
        punished = self.recipe.penalty > 0
        pictures = [x.detach().requires_grad_(punished) for x in (real, made)]
        logits = [self.discriminator(x) for x in pictures]
        loss = self.recipe.loss.discriminator(*logits)
        if not punished:
            return loss, torch.zeros(())
        first, second = (gradient_penalty(*pair) for pair in zip(logits, pictures, strict=True))
        return loss, first + second

    @torch.no_grad()
    def sample(self, seed: int, count: int) -> Tensor:
        """Samples of the averaged generator, `AT_ONCE` by `AT_ONCE`."""
        noise = normal(seed, 0, Stream.START, (count, self.recipe.latent))
        generator = self._average.now()
        return torch.cat([generator(part) for part in noise.split(AT_ONCE)])
