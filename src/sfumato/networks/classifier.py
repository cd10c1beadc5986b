"""A classifier of noisy pictures: the first half of a U-Net, attention pooling, a head for each kind of label.

Dhariwal & Nichol 2021, section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    time_layers,
)
from sfumato.networks.layers import AttentionPool, group_norm, linear
from sfumato.networks.weights import with_tensors

__all__ = ["NoisyClassifier", "label_log_probability"]


class NoisyClassifier(nn.Module):
    """A network from a noisy picture and its time to what its labels may be.

    Args:
        config: the U-Net whose first half this is; `labels` is the number of classes of each kind.

    Raises:
        InputError: when the width of an attention head does not divide that of the coarsest level.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.widths[-1]
        if config.context:
            raise InputError("a classifier of noisy pictures reads no text: network.context must be 0")
        self.time = time_layers(config)
        self.enter = entrance(config)
        self.down, _ = down_layers(config)
        self.middle = middle_layers(config)
        self.norm = group_norm(width, config.groups, silu=True)
        self.pool = AttentionPool(width, heads=config.heads_of(width))
        self.heads = nn.ModuleList(linear(width, count) for count in config.labels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_tensors(cls, config: UNetConfig, tensors: Mapping[str, Tensor]) -> NoisyClassifier:
        """A network with these weights, in evaluation mode, without gradients for them. Errors as in `with_tensors`."""
        return with_tensors(cls, config, tensors)

    def forward(self, x: Tensor, t: Tensor | float) -> list[Tensor]:
        """Classify.

        Args:
            x: (N, C, H, W) noisy pictures.
            t: (N,) times in [0, 1], or one for all.

        Returns:
            For each kind of label, unnormalised log-probabilities (N, classes).

        Raises:
            InputError: when a size or a channel count does not fit.
        """
        config = self.config
        check_pictures(config, x)
        embedding = F.silu(embed_time(config, self.time, x, t))
        h = enter(config, self.enter, x)
        for layer in [*self.down, *self.middle]:
            h = layer(h, embedding, None) if isinstance(layer, Stage) else layer(h)
        pooled = self.pool(self.norm(h))
        return [head(pooled) for head in self.heads]


def label_log_probability(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """log p(labels | x_t) (N,): the sum of log p(y_k|x_t) over the kinds k that are named.

    That is exact where the kinds are independent given x_t; the heads of `NoisyClassifier` are trained as if they were.

    Args:
        logits: for each kind (N, classes), not normalised.
        labels: (N, K) int64; `NO_LABEL` (-1) where a kind is not named.
    """
    each = [
        -F.cross_entropy(values, labels[:, column], ignore_index=NO_LABEL, reduction="none")
        for column, values in enumerate(logits)
    ]
    return torch.stack(each).sum(0)
