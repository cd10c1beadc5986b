"""The U-Net of DDPM (Ho et al. 2020, appendix B) as one configurable network.

Down through the levels, through the middle, and up again; every block on the way up also sees what the way down kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.networks.config import NO_LABEL, UNetConfig
from sfumato.networks.layers import Attention, Downsample, ResBlock, Upsample, conv, group_norm, linear, sinusoidal

__all__ = ["TIME_SCALE", "UNet"]

TIME_SCALE = 1000.0  # t in [0, 1] is embedded as 1000·t


class Stage(nn.Module):
    """A residual block and, where wanted, self-attention after it."""

    def __init__(self, block: ResBlock, attention: Attention | None) -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.block(x, embedding)
        return x if self.attention is None else self.attention(x)


class UNet(nn.Module):
    """A network from a noisy picture, its time and its labels to a prediction (eps, x0 or v: it does not know which).

    Args:
        config: its shape.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, groups = config.widths, config.groups
        embedding = 4 * config.channels

        def stage(channels_in: int, channels_out: int, attends: bool) -> Stage:
            block = ResBlock(
                channels_in,
                channels_out,
                embedding,
                groups=groups,
                dropout=config.dropout,
                scale_shift=config.time_embedding == "scale-shift",
            )
            return Stage(block, attention(channels_out) if attends else None)

        def attention(channels: int) -> Attention:
            return Attention(channels, groups=groups, head_channels=config.head_channels)

        self.time = nn.Sequential(linear(config.channels, embedding), nn.SiLU(), linear(embedding, embedding))
        # the last row of each table stands for "no label"
        self.labels = nn.ModuleList()
        for count in config.labels:
            table = nn.Embedding(count + 1, embedding)
            nn.init.normal_(table.weight, std=0.02)
            self.labels.append(table)

        self.enter = conv(config.in_channels * config.patch**2, config.channels)
        self.down = nn.ModuleList()
        kept, width = [config.channels], config.channels
        for level, target in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(stage(width, target, level in config.attention_levels))
                width = target
                kept.append(width)
            if level < len(widths) - 1:
                self.down.append(Downsample(width))
                kept.append(width)
        self.middle = nn.ModuleList([stage(width, width, config.mid_attention), stage(width, width, False)])
        self.up = nn.ModuleList()
        for level, target in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(stage(width + kept.pop(), target, level in config.attention_levels))
                width = target
            if level > 0:
                self.up.append(Upsample(width))
        self.leave = nn.Sequential(
            group_norm(width, groups), nn.SiLU(), conv(width, config.output_channels * config.patch**2, zero=True)
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_tensors(cls, config: UNetConfig, tensors: Mapping[str, Tensor]) -> UNet:
        """A network with these weights, in evaluation mode, without gradients. Draws no random numbers.

        Raises:
            InputError: when tensors are missing, too many, of another shape, or hold NaN or infinity.
        """
        with torch.device("meta"):
            network = cls(config)
        expected = network.state_dict()
        missing, surplus = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        if missing or surplus:
            what = f"{missing[0]} is missing" if missing else f"there is no place for {surplus[0]}"
            raise InputError(f"{what} ({len(missing)} tensors missing, {len(surplus)} too many)")
        for name, value in tensors.items():
            if value.shape != expected[name].shape:
                raise InputError(f"{name} has the shape {tuple(value.shape)}, not {tuple(expected[name].shape)}")
            if not value.isfinite().all():
                raise InputError(f"{name} holds NaN or infinity")
        network.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval().requires_grad_(False)

    def forward(self, x: Tensor, t: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            x: (N, C, H, W) noisy pictures.
            t: (N,) times in [0, 1], or one for all.
            labels: (N, K) int64, one column for each kind; `NO_LABEL` (-1) for none. Default: no labels at all.

        Returns:
            (N, C_out, H, W).

        Raises:
            InputError: when a size, a channel count or a label does not fit.
        """
        config = self.config
        if x.ndim != 4 or x.shape[1] != config.in_channels:
            raise InputError(f"this network takes pictures (N, {config.in_channels}, H, W), not {tuple(x.shape)}")
        config.check_size(x.shape[2], x.shape[3])
        t = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x))
        embedding = self.time(sinusoidal(TIME_SCALE * t, config.channels).to(x.dtype))
        if config.labels:
            embedding = embedding + self._embed_labels(labels, len(x), x.device)
        embedding = F.silu(embedding)

        h = F.pixel_unshuffle(x, config.patch) if config.patch > 1 else x
        h = self.enter(h.contiguous(memory_format=torch.channels_last))
        kept = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, Stage) else layer(h)
            kept.append(h)
        for layer in self.middle:
            h = layer(h, embedding)
        for layer in self.up:
            h = layer(torch.cat([h, kept.pop()], dim=1), embedding) if isinstance(layer, Stage) else layer(h)
        h = self.leave(h)
        return F.pixel_shuffle(h, config.patch) if config.patch > 1 else h

    def _embed_labels(self, labels: Tensor | None, count: int, device: torch.device) -> Tensor:
        kinds = self.config.labels
        if labels is None:
            labels = torch.full((count, len(kinds)), NO_LABEL, device=device)
        if list(labels.shape) != [count, len(kinds)]:
            raise InputError(f"labels must have the shape ({count}, {len(kinds)}), not {tuple(labels.shape)}")
        rows = []
        for column, (table, classes) in enumerate(zip(self.labels, kinds, strict=True)):
            chosen = labels[:, column]
            wrong = (chosen < NO_LABEL) | (chosen >= classes)
            if chosen.device.type == "cpu" and wrong.any():  # elsewhere a look would mean waiting for the device
                first = int(chosen[wrong][0])
                raise InputError(f"there is no class {first} of label kind {column}; there are 0 … {classes - 1}")
            rows.append(table(torch.where(chosen == NO_LABEL, classes, chosen)))
        return torch.stack(rows).sum(0)
