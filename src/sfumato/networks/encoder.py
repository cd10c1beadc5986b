"""The way down of a U-Net and its middle, which a classifier shares. A network keeps the parts under its own names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.networks.condition import Context
from sfumato.networks.config import UNetConfig
from sfumato.networks.layers import Attention, Downsample, ResBlock, Upsample, conv, linear, sinusoidal
from sfumato.networks.transformer import Transformer

__all__ = [
    "TIME_SCALE",
    "Stage",
    "check_pictures",
    "down_layers",
    "downsample",
    "embed_time",
    "enter",
    "entrance",
    "middle_layers",
    "time_layers",
    "upsample",
]

TIME_SCALE = 1000.0  # t in [0, 1] is embedded as 1000·t


class Stage(nn.Module):
    """A residual block and, where wanted, attention after it: to itself, and to a text where there is one.

    Args:
        resample: "down" or "up", for a block that changes the resolution (ADM).
    """

    def __init__(
        self, config: UNetConfig, channels_in: int, channels_out: int, attends: bool, resample: str | None = None
    ) -> None:
        super().__init__()
        self.block = ResBlock(
            channels_in,
            channels_out,
            4 * config.channels,
            groups=config.groups,
            dropout=config.dropout,
            scale_shift=config.time_embedding == "scale-shift",
            eps=config.norm_eps,
            resample=resample,
        )
        self.attention = _attention(config, channels_out) if attends else None

    def forward(self, x: Tensor, embedding: Tensor, context: Context | None, beside: Tensor | None = None) -> Tensor:
        x = self.block(x, embedding, beside)
        if self.attention is None:
            return x
        return self.attention(x) if context is None else self.attention(x, context)


def _attention(config: UNetConfig, channels: int) -> Attention | Transformer:
    heads, groups = config.heads_of(channels), config.groups
    if config.context:
        return Transformer(channels, heads=heads, context=config.context, depth=config.transformer_depth, groups=groups)
    return Attention(channels, groups=groups, heads=heads, eps=config.norm_eps)


def downsample(config: UNetConfig, channels: int) -> nn.Module:
    """Half the resolution, in the way of this network."""
    if config.resample == "residual":
        return Stage(config, channels, channels, attends=False, resample="down")
    return Downsample(channels, "end" if config.resample == "conv-end" else "both")


def upsample(config: UNetConfig, channels: int) -> nn.Module:
    """Twice the resolution, in the way of this network."""
    if config.resample == "residual":
        return Stage(config, channels, channels, attends=False, resample="up")
    return Upsample(channels)


def time_layers(config: UNetConfig) -> nn.Sequential:
    """From sines and cosines of the time to the embedding, of 4·channels features."""
    features = 4 * config.channels
    return nn.Sequential(linear(config.channels, features), nn.SiLU(), linear(features, features))


def entrance(config: UNetConfig) -> nn.Conv2d:
    """The first convolution, on patches."""
    return conv(config.in_channels * config.patch**2, config.channels)


def down_layers(config: UNetConfig) -> tuple[nn.ModuleList, list[int]]:
    """Stages and changes of resolution, finest level first; channels at the entrance and after each of them."""
    layers, kept = nn.ModuleList(), [config.channels]
    for level, target in enumerate(config.widths):
        for _ in range(config.blocks):
            layers.append(Stage(config, kept[-1], target, level in config.attention_levels))
            kept.append(target)
        if level < len(config.widths) - 1:
            layers.append(downsample(config, target))
            kept.append(target)
    return layers, kept


def middle_layers(config: UNetConfig) -> nn.ModuleList:
    """Two stages at the coarsest level."""
    width = config.widths[-1]
    return nn.ModuleList([Stage(config, width, width, config.mid_attention), Stage(config, width, width, False)])


def check_pictures(config: UNetConfig, x: Tensor) -> None:
    """Raise `InputError` unless x is (N, in_channels, H, W) of a size that fits."""
    if x.ndim != 4 or x.shape[1] != config.in_channels:
        raise InputError(f"this network takes pictures (N, {config.in_channels}, H, W), not {tuple(x.shape)}")
    config.check_size(x.shape[2], x.shape[3])


def embed_time(config: UNetConfig, layers: nn.Module, x: Tensor, t: Tensor | float) -> Tensor:
    """(N, 4·channels) for the times t, (N,) or one for all, of pictures x (N, …)."""
    position = TIME_SCALE * t if config.time_steps is None else config.time_steps * t - 1
    if isinstance(position, Tensor):
        position = position.float().to(x.device).expand(len(x))
    else:  # made where it is needed: to copy a number there would be to wait for a GPU, at every step of sampling
        position = torch.full((len(x),), position, dtype=torch.float32, device=x.device)
    return layers(sinusoidal(position, config.channels, config.time_encoding).to(x.dtype))


def enter(config: UNetConfig, layer: nn.Module, x: Tensor) -> Tensor:
    """Patches to channels, then the first convolution: (N, C, H, W) -> (N, channels, H/patch, W/patch)."""
    h = F.pixel_unshuffle(x, config.patch) if config.patch > 1 else x
    return layer(h.contiguous(memory_format=torch.channels_last))
