"""The convolution that networks are made of, and which way it goes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.kernels.build import available
from sfumato.networks.kernels.eager import eager
from sfumato.networks.kernels.kept import KEPT
from sfumato.networks.kernels.winograd import conv3x3, convolved

__all__ = ["Conv2d", "fits", "keeps", "side_of"]

LANES = 8  # channels are taken so many at a time
LEAST_CHANNELS = 32
LEAST_TILES = 8  # of 4x4 outputs; with fewer, spreading the weights takes longer than is gained
LEAST_KEPT_TILES = 17  # of 4x4 outputs; with fewer, reading the spread weights does, and there are fewer for 2x2
MOST_KEPT_TILES = 65  # with as many, spreading the weights hardly weighs
LEAST_FILLED = 0.4  # share of the tiles' outputs that lie within the picture
LEAST_WORK, LEAST_KEPT_WORK = 2**18, 2**16  # N·H·W·C·K; below it, calling takes longer than is gained
MOST_PLAIN_WORK = 2**25  # N·H·W·C·K of a 1x1 convolution; above it, torch's is faster than a product of matrices


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`, which goes the way that is fastest on a CPU.

    3x3 by our kernel; 1x1 as a matrix product; all else by torch's convolution. The way depends on nothing but shapes,
    and whether gradients are to come.
    """

    def forward(
        self,
        input: Tensor,  # noqa: A002 (torch's own name)
        added: Tensor | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:
        """(N, C, H, W) -> (N, K, H', W').

        Args:
            input: the pictures, or their first channels.
            added: what to add, of the result's shape.
            beside: the other channels, where these do not lie in one tensor; of a 1x1 convolution.
        """
        x = input
        if beside is not None:
            return _sum(self._of_both(x, beside), added)
        plain = self.stride == (1, 1) and self.groups == 1 and self.dilation == (1, 1)
        fitting = x.ndim == 4 and x.shape[1] == self.in_channels and x.dtype == self.weight.dtype == torch.float32
        fitting = fitting and (added is None or added.dtype == torch.float32)
        if not plain or not fitting or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return _sum(super().forward(x), added)
        small = x.numel() * self.out_channels <= MOST_PLAIN_WORK
        if self.kernel_size == (1, 1) and self.padding == (0, 0) and (small or torch.is_grad_enabled()):
            rows = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
            return _sum(rows.permute(0, 3, 1, 2), added)
        if self.kernel_size == (3, 3) and self.padding == (1, 1):
            if not self.training and not torch.is_grad_enabled() and eager(x):
                side = side_of(x.shape, self.out_channels)
                if side and keeps(x.shape, side):
                    return convolved(x, KEPT(self, side), self.bias, self.out_channels, side, added)
            if fits(x.shape, self.out_channels):
                return conv3x3(x, self.weight, self.bias, False, added)
        return _sum(super().forward(x), added)

    def _of_both(self, x: Tensor, beside: Tensor) -> Tensor:
        """Of a 1x1 convolution, without joining what it is of: the sum of those of both."""
        plain = (*self.kernel_size, *self.stride, *self.padding, self.groups) == (1, 1, 1, 1, 0, 0, 1)
        fitting = x.device.type == "cpu" and x.dtype == beside.dtype == self.weight.dtype == torch.float32
        if not plain or not fitting or torch.is_autocast_enabled("cpu"):
            return super().forward(torch.cat([x, beside], dim=1))
        rows, others = (t.permute(0, 2, 3, 1) for t in (x, beside))
        weight, parted = self.weight.flatten(1), x.shape[1]
        y, others, rest = F.linear(rows, weight[:, :parted], self.bias), others.flatten(0, 2), weight[:, parted:].t()
        if torch.is_grad_enabled():
            y = torch.addmm(y.flatten(0, 2), others, rest).view(y.shape)
        else:
            y.view(-1, self.out_channels).addmm_(others, rest)
        return y.permute(0, 3, 1, 2)

    def train(self, mode: bool = True) -> Conv2d:
        if mode:
            KEPT.forget(self)
        return super().train(mode)


def _sum(y: Tensor, added: Tensor | None) -> Tensor:
    if added is None:
        return y
    alone = y.dtype == added.dtype and not torch.is_grad_enabled()
    return y.add_(added) if alone else y + added  # y is nobody else's: no third tensor for the sum


def fits(shape: Sequence[int], channels_out: int) -> bool:
    """Whether F(4x4, 3x3) gains where weights are spread for every call. `shape`: (N, C, H, W) of the input."""
    return _gains(shape, channels_out, 4, LEAST_WORK) and tiles(shape, 4) >= LEAST_TILES


def side_of(shape: Sequence[int], channels_out: int) -> int | None:
    """The side of tiles that gains where weights are kept spread; None: none does."""
    if tiles(shape, 4) >= LEAST_KEPT_TILES and _gains(shape, channels_out, 4, LEAST_KEPT_WORK):
        return 4
    return 2 if _gains(shape, channels_out, 2, LEAST_KEPT_WORK) else None


def keeps(shape: Sequence[int], side: int) -> bool:
    """Whether a convolution with tiles of this side gains by spread weights that are kept."""
    return side == 2 or tiles(shape, side) < MOST_KEPT_TILES


def tiles(shape: Sequence[int], side: int) -> int:
    """Of all pictures."""
    n, _, height, width = shape
    return n * -(-height // side) * -(-width // side)


def _gains(shape: Sequence[int], channels_out: int, side: int, least_work: int) -> bool:
    """Whether the kernel is there, can do it, and has enough to do."""
    n, c, height, width = shape
    large = (
        min(c, channels_out) >= LEAST_CHANNELS
        and n * height * width * c * channels_out >= least_work
        and n * height * width >= LEAST_FILLED * side**2 * tiles(shape, side)
    )
    return large and c % LANES == 0 and channels_out % LANES == 0 and available()
