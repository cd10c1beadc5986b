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
from sfumato.networks.encoder import (
    Stage,
    check_pictures,
    down_layers,
    embed_time,
    enter,
    entrance,
    middle_layers,
    stage,
    time_layers,
)
from sfumato.networks.layers import Upsample, conv, group_norm
from sfumato.networks.weights import with_tensors

__all__ = ["UNet"]


class UNet(nn.Module):
    """A network from a noisy picture, its time and its labels to a prediction (eps, x0 or v: it does not know which).

    Args:
        config: its shape.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.time = time_layers(config)
        # the last row of each table stands for "no label"
        self.labels = nn.ModuleList()
        for count in config.labels:
            table = nn.Embedding(count + 1, 4 * config.channels)
            nn.init.normal_(table.weight, std=0.02)
            self.labels.append(table)

        self.enter = entrance(config)
        self.down, kept = down_layers(config)
        self.middle = middle_layers(config)
        self.up, width = nn.ModuleList(), config.widths[-1]
        for level, target in reversed(list(enumerate(config.widths))):
            for _ in range(config.blocks + 1):
                self.up.append(stage(config, width + kept.pop(), target, level in config.attention_levels))
                width = target
            if level > 0:
                self.up.append(Upsample(width))
        self.leave = nn.Sequential(
            group_norm(width, config.groups),
            nn.SiLU(),
            conv(width, config.output_channels * config.patch**2, zero=True),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_tensors(cls, config: UNetConfig, tensors: Mapping[str, Tensor]) -> UNet:
        """A network with these weights, in evaluation mode, without gradients. Draws no random numbers.

        Raises:
            InputError: when tensors are missing, too many, of another shape, or hold NaN or infinity.
        """
        return with_tensors(cls, config, tensors)

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
        check_pictures(config, x)
        embedding = embed_time(config, self.time, x, t)
        if config.labels:
            embedding = embedding + self._embed_labels(labels, len(x), x.device)
        embedding = F.silu(embedding)

        h = enter(config, self.enter, x)
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
