"""The contestants. What samples has the same number of parameters in all three, within 5 %; a GAN's discriminator, as
large again, comes on top."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from bench.coverage.diffuser import Diffuser, DiffuserRecipe
from bench.coverage.gan import Gan, GanRecipe
from bench.coverage.losses import NON_SATURATING, RELATIVISTIC
from bench.coverage.networks import (
    WAVES,
    Denoiser,
    Waves,
    dcgan_discriminator,
    dcgan_generator,
    mlp,
    resnet_discriminator,
    resnet_generator,
)
from bench.coverage.player import Player
from bench.coverage.problem import Problem
from torch import nn

from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.seeds import Stream, torch_seed

__all__ = ["CONTESTANTS", "TRIED", "Choice", "contestant"]

CONTESTANTS = ("dcgan", "r3gan", "diffusion")
LATENT = 64  # of pictures; in the plane as many as the denoiser's inputs
INPUTS, LAYERS, WIDTH = 32, 3, 128  # in the plane
UNET = UNetConfig(channels=24, multipliers=(1, 1), attention_levels=(), head_channels=24, patch=2)
BATCH = {"gaussians": 256, "stacked-mnist": 32}


@dataclass(frozen=True)
class Choice:
    """What was searched: the learning rate, and the R3GAN's γ."""

    lr: float
    penalty: float = 0.0


_RATES = tuple(Choice(lr) for lr in (2e-4, 7e-4, 2e-3, 5e-3))
TRIED: dict[str, tuple[Choice, ...]] = {
    "dcgan": _RATES,
    "r3gan": (Choice(5e-4, 1.0), Choice(2e-3, 1.0), Choice(2e-3, 0.1), Choice(5e-4, 0.1)),
    "diffusion": _RATES,
}
"""Four for each. The published rate is 2e-4 for all (Radford et al. 2016; Huang et al. 2024; Ho et al. 2020), for
trainings a hundred times as long."""


def contestant(problem: Problem, name: str, choice: Choice, seed: int) -> Player:
    """A contestant before its first step. Its weights and all it draws depend on `seed` alone."""
    batch, plane = BATCH[problem.name], len(problem.shape) == 1
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(seed, 0, Stream.WEIGHTS))
        if name == "diffusion":
            network = Denoiser(INPUTS - WAVES, WIDTH, LAYERS) if plane else UNet(UNET)
            return Diffuser(network, DiffuserRecipe(choice.lr, batch, problem.clipped), problem.shape, seed)
        both = _in_the_plane(name) if plane else _of_pictures(name)
        latent = INPUTS if plane else LATENT
        if name == "dcgan":
            recipe = GanRecipe(NON_SATURATING, choice.lr, (0.5, 0.999), 0.0, batch, latent)
        else:
            recipe = GanRecipe(RELATIVISTIC, choice.lr, (0.0, 0.99), choice.penalty, batch, latent)
        return Gan(*both, recipe, seed)


def _in_the_plane(name: str) -> tuple[nn.Module, nn.Module]:
    hidden = [WIDTH] * LAYERS
    return (
        mlp([INPUTS, *hidden, 2], nn.ReLU if name == "dcgan" else _leaky, batch_norm=name == "dcgan"),
        nn.Sequential(Waves(), mlp([WAVES, *hidden, 1], _leaky), nn.Flatten(0)),
    )


def _of_pictures(name: str) -> tuple[nn.Module, nn.Module]:
    if name == "dcgan":
        return dcgan_generator(LATENT, 58, 3), dcgan_discriminator(72, 3)
    return resnet_generator(LATENT, (76, 32), 3), resnet_discriminator((76, 32), 3)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)
