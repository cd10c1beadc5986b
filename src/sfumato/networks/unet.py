"""The U-Net of DDPM (Ho et al. 2020, appendix B) as one configurable network.

Down through the levels, through the middle, and up again; every block on the way up also sees what the way down kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sfumato.errors import InputError
from sfumato.networks.condition import Condition, Context
from sfumato.networks.config import NO_LABEL, UNetConfig
from sfumato.networks.encoder import (
    Stage,
    check_pictures,
    down_layers,
    embed_time,
    enter,
    entrance,
    middle_layers,
    time_layers,
    upsample,
)
from sfumato.networks.kernels.eager import eager
from sfumato.networks.layers import conv, group_norm, linear
from sfumato.networks.transformer import TextEncoder
from sfumato.networks.weights import with_tensors

__all__ = ["UNet"]


class UNet(nn.Module):
    """A network from a noisy picture, its time and a condition to a prediction (eps, x0 or v: it does not know which).

    Args:
        config: its shape.

    Attributes:
        recomputes: for gradients, keep only what enters each block, and let it work a second time (gradient
            checkpointing; Chen et al. 2016). They are the same bit for bit: dropout draws what it drew.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config, self.recomputes = config, False
        self.time = time_layers(config)
        # the last row of each table stands for "no label"
        self.labels = nn.ModuleList()
        for count in config.labels:
            table = nn.Embedding(count + 1, 4 * config.channels)
            nn.init.normal_(table.weight, std=0.02)
            self.labels.append(table)
        if config.vocabulary:
            self.text = TextEncoder(config.vocabulary, config.tokens, config.context, config.text_layers)
        if config.pooled_text and not config.context:
            raise InputError("network: pooled_text needs a context, the features of a token of text")
        if config.pooled_text:
            self.pooled = linear(config.context, 4 * config.channels)

        self.enter = entrance(config)
        self.down, kept = down_layers(config)
        self.middle = middle_layers(config)
        self.up, width = nn.ModuleList(), config.widths[-1]
        for level, target in reversed(list(enumerate(config.widths))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(config, width + kept.pop(), target, level in config.attention_levels))
                width = target
            if level > 0:
                self.up.append(upsample(config, width))
        self.leave = nn.Sequential(
            group_norm(width, config.groups, config.norm_eps, silu=True),
            nn.Identity(),  # files know the convolution as number 2
            conv(width, config.output_channels * config.patch**2, zero=True),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_tensors(
        cls, config: UNetConfig, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> UNet:
        """A network with these weights, in evaluation mode, without gradients. Errors as in `with_tensors`."""
        return with_tensors(cls, config, tensors, dtype)

    def forward(self, x: Tensor, t: Tensor | float, condition: Condition | Tensor | None = None) -> Tensor:
        """Predict, in the number type of the weights.

        Args:
            x: (N, C, H, W) noisy pictures.
            t: (N,) times in [0, 1], or one for all.
            condition: what else is known of each. A tensor stands for labels (N, K), `NO_LABEL` (-1) for none; without
                labels none are named. A network with text must have its words or its context.

        Returns:
            (N, C_out, H, W), of the number type of x.

        Raises:
            InputError: when a size, a channel count, a label or a text does not fit.
        """
        config, condition = self.config, Condition.of(condition)
        if condition.pictures is not None:
            x = torch.cat([x, condition.pictures], dim=1)
        check_pictures(config, x)
        given, x = x.dtype, x.to(self.enter.weight.dtype)
        context = self._context(condition, len(x))
        embedding = embed_time(config, self.time, x, t)
        if config.labels:
            embedding = embedding + self._embed_labels(condition.labels, len(x), x.device)
        if config.pooled_text and context is not None:
            embedding = embedding + self.pooled(context.mean())
        embedding = F.silu(embedding)

        recomputes = self.recomputes and torch.is_grad_enabled()
        through = partial(checkpoint, _through, use_reentrant=False) if recomputes else _through
        h = enter(config, self.enter, x)
        kept = [h]
        for layer in self.down:
            h = through(layer, h, embedding, context)
            kept.append(h)
        for layer in self.middle:
            h = through(layer, h, embedding, context)
        for index, layer in enumerate(self.up):
            h = through(layer, h, embedding, context, None if self.resizes(index) else kept.pop())
        h = self.leave(h).to(given)
        return F.pixel_shuffle(h, config.patch) if config.patch > 1 else h

    def resizes(self, index: int) -> bool:
        """Whether layer `index` on the way up changes the resolution. Such a layer sees nothing of the way down."""
        return index % (self.config.blocks + 2) == self.config.blocks + 1

    def read(self, words: Tensor) -> Context:
        """What the network's own text encoder says of words (N, L): once for all steps of sampling."""
        return self.text(words)

    def _context(self, condition: Condition, count: int) -> Context | None:
        config = self.config
        if not config.context:
            if condition.words is not None or condition.context is not None:
                raise InputError("this network takes no text")
            return None
        if condition.words is not None and config.vocabulary:
            return self.read(condition.words)
        if condition.context is None:
            raise InputError("this network needs a text for every picture; an empty one is one too")
        tokens, mask = condition.context, condition.mask
        if tokens.ndim != 3 or len(tokens) != count or tokens.shape[2] != config.context:
            raise InputError(f"a text must be ({count}, L, {config.context}), not {tuple(tokens.shape)}")
        return Context(tokens.to(self.enter.weight.dtype), mask)

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
            # elsewhere a look would mean waiting for the device, or break what is compiled in two
            if chosen.device.type == "cpu" and eager(chosen) and wrong.any():
                first = int(chosen[wrong][0])
                raise InputError(f"there is no class {first} of label kind {column}; there are 0 … {classes - 1}")
            rows.append(table(torch.where(chosen == NO_LABEL, classes, chosen)))
        return torch.stack(rows).sum(0)


def _through(
    layer: nn.Module, h: Tensor, embedding: Tensor, context: Context | None, kept: Tensor | None = None
) -> Tensor:
    """Through a layer; through a stage on the way up with what the way down kept."""
    return layer(h, embedding, context, kept) if isinstance(layer, Stage) else layer(h)
