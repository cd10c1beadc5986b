"""The GANs' networks, and perceptrons for the plane. The diffusion network of pictures is Sfumato's U-Net."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.layers import sinusoidal

__all__ = [
    "WAVES",
    "Denoiser",
    "Waves",
    "count",
    "dcgan_discriminator",
    "dcgan_generator",
    "mlp",
    "resnet_discriminator",
    "resnet_generator",
]

PATCH = 2  # side of the patches that are channels at a residual network's open end, as they are in the U-Net


def count(network: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def mlp(widths: Sequence[int], activation: Callable[[], nn.Module], batch_norm: bool = False) -> nn.Sequential:
    """Linear layers of these widths, the first being the input's; activations between them."""
    layers: list[nn.Module] = []
    for wide_in, wide_out in pairwise(widths[:-1]):
        layers += [nn.Linear(wide_in, wide_out), *([_batch_norm(nn.BatchNorm1d, wide_out)] if batch_norm else [])]
        layers += [activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


class Waves(nn.Module):
    """Points (N, 2) with sines and cosines of them (N, 2 + 4·OCTAVES), from a wave of length 4 on, each half as long.

    On coordinates alone a perceptron is slow to learn what is fine (Tancik et al. 2020).
    """

    OCTAVES = 5

    def forward(self, x: Tensor) -> Tensor:
        angles = (x[:, :, None] * (math.pi / 2 * 2.0 ** torch.arange(self.OCTAVES))).flatten(1)
        return torch.cat([x, angles.sin(), angles.cos()], dim=1)


WAVES = 2 + 4 * Waves.OCTAVES  # numbers that a point becomes


class Denoiser(nn.Module):
    """A perceptron that is told a point (N, 2) as waves, and its time (N,) as `features` sines and cosines."""

    def __init__(self, features: int, width: int, layers: int) -> None:
        super().__init__()
        self.features, self.waves = features, Waves()
        self.body = mlp([WAVES + features, *[width] * layers, 2], nn.SiLU)

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """(N, 2)."""
        time = x.new_ones(len(x)) * t
        return self.body(torch.cat([self.waves(x), sinusoidal(1000 * time, self.features)], dim=1))


def dcgan_generator(latent: int, channels: int, out: int) -> nn.Sequential:
    """(N, latent) -> (N, out, 12, 12): Radford et al. 2016, for 12 pixels instead of 64: from 3x3 on."""
    wide = 2 * channels
    return _radford(
        nn.Sequential(
            nn.Unflatten(1, (latent, 1, 1)),
            *(nn.ConvTranspose2d(latent, wide, 3, bias=False), _batch_norm(nn.BatchNorm2d, wide), nn.ReLU()),
            nn.ConvTranspose2d(wide, channels, 4, stride=2, padding=1, bias=False),
            *(_batch_norm(nn.BatchNorm2d, channels), nn.ReLU()),
            *(nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1), nn.Tanh()),
        )
    )


def dcgan_discriminator(channels: int, into: int) -> nn.Sequential:
    """(N, into, 12, 12) -> (N,)."""
    wide = 2 * channels
    return _radford(
        nn.Sequential(
            *(nn.Conv2d(into, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            nn.Conv2d(channels, wide, 4, stride=2, padding=1, bias=False),
            *(_batch_norm(nn.BatchNorm2d, wide), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(wide, 1, 3), nn.Flatten(0)),
        )
    )


def resnet_generator(latent: int, channels: tuple[int, int], out: int) -> nn.Sequential:
    """(N, latent) -> (N, out, 12, 12): residual blocks at 3x3 and 6x6, no normalisation (Huang et al. 2024)."""
    wide, narrow = channels
    return nn.Sequential(
        *(nn.Linear(latent, wide * 9), nn.Unflatten(1, (wide, 3, 3)), Residual(wide)),
        *(nn.Conv2d(wide, narrow, 1), nn.Upsample(scale_factor=2, mode="bilinear"), Residual(narrow)),
        *(nn.Conv2d(narrow, out * PATCH**2, 3, padding=1), nn.PixelShuffle(PATCH)),
    )


def resnet_discriminator(channels: tuple[int, int], into: int) -> nn.Sequential:
    """(N, into, 12, 12) -> (N,): the generator turned around."""
    wide, narrow = channels
    return nn.Sequential(
        *(nn.PixelUnshuffle(PATCH), nn.Conv2d(into * PATCH**2, narrow, 3, padding=1), Residual(narrow)),
        *(nn.AvgPool2d(2), nn.Conv2d(narrow, wide, 1), Residual(wide)),
        *(nn.Flatten(), nn.Linear(wide * 9, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1), nn.Flatten(0)),
    )


class Residual(nn.Module):
    """x + conv(act(conv(act(x)))), at first the identity (Zhang et al. 2019, Fixup)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), the same."""
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))


def _batch_norm(kind: type[nn.BatchNorm1d | nn.BatchNorm2d], channels: int) -> nn.Module:
    """Always with the batch's own statistics: running ones do not belong to averaged weights."""
    return kind(channels, track_running_stats=False)


def _radford(network: nn.Sequential) -> nn.Sequential:
    """Weights from N(0, 0.02²), as in Radford et al. 2016, section 4."""
    for name, parameter in network.named_parameters():
        if name.endswith("weight") and parameter.ndim == 4:
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("weight"):
            nn.init.normal_(parameter, mean=1.0, std=0.02)
    return network
