"""A discriminator of patches, not pictures (Isola et al. 2017, "Image-to-image translation", section 3.2.2)."""

from __future__ import annotations

from torch import Tensor, nn

from sfumato.networks.layers import conv, group_norm

__all__ = ["PatchDiscriminator"]

GROUPS = 32  # group instead of batch normalisation, so that pictures of a batch do not speak of each other


class PatchDiscriminator(nn.Sequential):
    """Convolutions of stride 2 with leaky ReLUs, then one number for each patch: above 0 it looks real.

    Args:
        in_channels: of the pictures.
        channels: base width; doubled with every halving of the resolution, up to 8 times.
        layers: how often the resolution is halved.
    """

    def __init__(self, in_channels: int, channels: int, layers: int) -> None:
        parts: list[nn.Module] = [conv(in_channels, channels, stride=2), nn.LeakyReLU(0.2)]
        width = channels
        for layer in range(1, layers + 1):
            target = channels * min(2**layer, 8)
            parts += [conv(width, target, stride=2 if layer < layers else 1), group_norm(target, GROUPS)]
            parts += [nn.LeakyReLU(0.2)]
            width = target
        super().__init__(*parts, conv(width, 1))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (its name in Sequential)
        """(N, C, H, W) in [-1, 1] -> (N, 1, H/2^layers, W/2^layers)."""
        return super().forward(input)
