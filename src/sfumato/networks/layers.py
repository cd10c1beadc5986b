"""What networks are made of: residual block, attention, changes of resolution, embedding of the time."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.attend import attend
from sfumato.networks.kernels.conv import Conv2d
from sfumato.networks.kernels.norm import GroupNorm, apart

__all__ = [
    "Attention",
    "AttentionPool",
    "Downsample",
    "ResBlock",
    "Upsample",
    "conv",
    "group_norm",
    "linear",
    "sinusoidal",
]

Layer = TypeVar("Layer", Conv2d, nn.Linear)


def sinusoidal(position: Tensor, features: int, kind: Literal["ddpm", "adm"] = "ddpm") -> Tensor:
    """Sines and cosines of `position` (N,) at geometric frequencies: (N, features) (Vaswani et al. 2017, sec. 3.5).

    Args:
        kind: "ddpm": sines first, frequencies from 1 to 1/10,000 (Ho et al. 2020). "adm": cosines first, the last
            frequency one step above 1/10,000 (Dhariwal & Nichol 2021; Stable Diffusion).
    """
    half = features // 2
    share = torch.arange(half, dtype=torch.float32, device=position.device) / max(half - (kind == "ddpm"), 1)
    angle = position.float()[:, None] * torch.exp(-math.log(10_000.0) * share)
    return torch.cat([angle.sin(), angle.cos()] if kind == "ddpm" else [angle.cos(), angle.sin()], dim=1)


def group_norm(channels: int, groups: int, eps: float = 1e-6, silu: bool = False) -> GroupNorm:
    return GroupNorm(math.gcd(channels, groups), channels, eps, silu)


def conv(channels_in: int, channels_out: int, size: int = 3, stride: int = 1, zero: bool = False) -> Conv2d:
    """Keeps the resolution at stride 1. Glorot-uniform weights, or zeros where a branch is to start silent."""
    layer = Conv2d(channels_in, channels_out, size, stride, padding=size // 2)
    return _initialised(layer, zero)


def linear(features_in: int, features_out: int) -> nn.Linear:
    return _initialised(nn.Linear(features_in, features_out), zero=False)


def _initialised(layer: Layer, zero: bool) -> Layer:
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResBlock(nn.Module):
    """norm, SiLU, conv; time; norm, SiLU, dropout, conv; plus the input (Ho et al. 2020, app. B; ADM's scale-shift).

    Args:
        embedding: features of the time's embedding; None: a block that knows no time.
        resample: "down" or "up" halves or doubles the resolution after the first SiLU and in the sum (Dhariwal & Nichol
            2021, section 3, from BigGAN).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int | None,
        *,
        groups: int,
        dropout: float = 0.0,
        scale_shift: bool = False,
        eps: float = 1e-6,
        resample: str | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.resample = {None: nn.Identity(), "down": nn.AvgPool2d(2), "up": nn.Upsample(scale_factor=2)}[resample]
        self.norm1 = group_norm(channels_in, groups, eps, silu=True)
        self.conv1 = conv(channels_in, channels_out)
        self.embed = None if embedding is None else linear(embedding, channels_out * (2 if scale_shift else 1))
        self.norm2 = group_norm(channels_out, groups, eps, silu=True)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(channels_out, channels_out, zero=True)
        self.skip = conv(channels_in, channels_out, size=1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """(N, Cin, H, W), (N, E) already through SiLU -> (N, Cout, H, W), or H and W halved or doubled.

        Args:
            x: the pictures, or their first channels.
            embedding: of the time.
            beside: the other channels, where these do not lie in one tensor.
        """
        if beside is not None and not apart(x, beside):
            x, beside = torch.cat([x, beside], dim=1), None
        h = self.conv1(self.resample(self.norm1(x, beside=beside)))
        if self.embed is None:
            h = self.norm2(h)
        elif self.scale_shift:
            h = self.norm2(h, film=self.embed(embedding))
        else:
            h = self.norm2(h, added=self.embed(embedding))
        return self.conv2(self.dropout(h), added=self._skipped(x, beside))

    def _skipped(self, x: Tensor, beside: Tensor | None) -> Tensor:
        if beside is None or isinstance(self.skip, nn.Identity):
            return self.skip(self.resample(x if beside is None else torch.cat([x, beside], dim=1)))
        return self.skip(self.resample(x), beside=self.resample(beside))


class Attention(nn.Module):
    """Self-attention over the positions of a picture, added to its input (Ho et al. 2020, app. B)."""

    most_scores: int | None = None  # see `networks.memory`

    def __init__(self, channels: int, *, groups: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels, groups, eps)
        self.qkv = conv(channels, 3 * channels, size=1)
        self.out = conv(channels, channels, size=1, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        n, c, height, width = x.shape
        rows = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(n, height * width, 3, self.heads, c // self.heads)
        q, k, v = rows.permute(2, 0, 3, 1, 4)  # each (N, heads, HW, C/heads)
        mixed = attend(q, k, v, most_scores=self.most_scores)
        mixed = mixed.transpose(1, 2).reshape(n, height, width, c).permute(0, 3, 1, 2)
        return self.out(mixed, added=x)


class AttentionPool(nn.Module):
    """One vector from a picture: attention over its positions, asked for by their mean (Radford et al. 2021, CLIP).

    Without CLIP's learned positions, so that any size will do; what lies before it knows where things are.
    """

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = linear(channels, channels)
        self.key_value = conv(channels, 2 * channels, size=1)
        self.out = linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        n, c, height, width = x.shape
        q = self.query(x.mean((2, 3))).reshape(n, self.heads, 1, c // self.heads)
        rows = self.key_value(x).reshape(n, 2, self.heads, c // self.heads, height * width)
        k, v = rows.transpose(3, 4).unbind(1)  # each (N, heads, HW, C/heads)
        return self.out(attend(q, k, v).reshape(n, c))


class Downsample(nn.Module):
    """Half the resolution, by a convolution of stride 2, on a picture with a border of zeros on both sides or at the
    ends only (below and on the right)."""

    def __init__(self, channels: int, padding: Literal["both", "end"] = "both") -> None:
        super().__init__()
        self.conv = conv(channels, channels, stride=2)
        self.padding = padding
        if padding == "end":
            self.conv.padding = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.padding == "end" else x)


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
