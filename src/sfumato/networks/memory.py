"""Less memory for attention: a bound that every attention of a network keeps to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from sfumato.errors import InputError
from sfumato.networks.layers import Attention
from sfumato.networks.transformer import CrossAttention

__all__ = ["bounded"]

Network = TypeVar("Network", bound=nn.Module)


def bounded(make: Callable[[], Network], most_scores: int | None) -> Network:
    """A new network whose attentions make at most so many scores at once, as `attend` does. Results stay the same.

    It helps where there is no fused kernel, which never holds all scores: there, at 64x64 positions and 8 heads, they
    are 134 million for each picture.

    Args:
        make: the network; the setting is an attribute of its attentions, not of the process.
        most_scores: the bound; None: none.

    Raises:
        InputError: for a bound below 1.
    """
    if most_scores is not None and most_scores < 1:
        raise InputError(f"attention makes at least 1 score at once, not {most_scores}")
    network = make()
    for module in network.modules():
        if isinstance(module, Attention | CrossAttention):
            module.most_scores = most_scores
    return network
