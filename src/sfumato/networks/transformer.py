"""Attention over text: the transformer that a U-Net has at some of its levels, and the one that reads the text.

Rombach et al. 2022, appendix E.2.1: self-attention, cross-attention, a gated feed-forward layer, each on normalised
input and added to it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.attend import attend
from sfumato.networks.condition import Context
from sfumato.networks.layers import conv, group_norm

__all__ = ["CrossAttention", "FeedForward", "TextEncoder", "Transformer", "TransformerBlock"]


class CrossAttention(nn.Module):
    """From every position to all tokens of a context, with several heads (Vaswani et al. 2017, section 3.2.2)."""

    most_scores: int | None = None  # see `networks.memory`

    def __init__(self, features: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(features, features, bias=False)
        self.key = nn.Linear(context, features, bias=False)
        self.value = nn.Linear(context, features, bias=False)
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(N, P, C), (N, L, D) -> (N, P, C)."""
        q, k, v = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, P or L, C/heads)
            for projected in (self.query(x), self.key(context.tokens), self.value(context.tokens))
        )
        return self.out(attend(q, k, v, context.mask, self.most_scores).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """A hidden layer of four times the width with a gate (GEGLU; Shazeer 2020, eq. 6)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, 8 * features)
        self.leave = nn.Linear(4 * features, features)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.enter(x).chunk(2, dim=-1)
        return self.leave(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention where there is a context, feed-forward."""

    def __init__(self, features: int, heads: int, context: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.self_attention = CrossAttention(features, features, heads)
        self.norm2 = nn.LayerNorm(features) if context else None
        self.cross_attention = CrossAttention(features, context, heads) if context else None
        self.norm3 = nn.LayerNorm(features)
        self.feed_forward = FeedForward(features)

    def forward(self, x: Tensor, context: Context | None = None, mask: Tensor | None = None) -> Tensor:
        """(N, P, C) -> (N, P, C). `mask` (N, P): which positions of x itself there are."""
        h = self.norm1(x)
        x = x + self.self_attention(h, Context(h, mask))
        if self.norm2 is not None and self.cross_attention is not None and context is not None:
            x = x + self.cross_attention(self.norm2(x), context)
        return x + self.feed_forward(self.norm3(x))


class Transformer(nn.Module):
    """Blocks over the positions of a picture, added to it."""

    def __init__(self, channels: int, *, heads: int, context: int, depth: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.enter = conv(channels, channels, size=1)
        self.blocks = nn.ModuleList(TransformerBlock(channels, heads, context) for _ in range(depth))
        self.leave = conv(channels, channels, size=1, zero=True)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        height = x.shape[2]
        h = self.enter(self.norm(x)).permute(0, 2, 3, 1).flatten(1, 2)  # (N, HW, C)
        for block in self.blocks:
            h = block(h, context)
        return x + self.leave(h.unflatten(1, (height, -1)).permute(0, 3, 1, 2))


class TextEncoder(nn.Module):
    """A small reader of words, trained together with the network that looks at what it says.

    Args:
        vocabulary: how many words it knows. Word 0 begins every text, so that an empty one has a token too.
        length: most words of a text.
        features: width of what it says of each word.
        layers: transformer blocks; every word sees all others.
    """

    def __init__(self, vocabulary: int, length: int, features: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, features)
        self.places = nn.Parameter(torch.empty(length, features))
        nn.init.normal_(self.words.weight, std=1.0)
        nn.init.normal_(self.places, std=0.1)
        self.blocks = nn.ModuleList(TransformerBlock(features, max(1, features // 32), None) for _ in range(layers))
        self.norm = nn.LayerNorm(features)

    def forward(self, words: Tensor) -> Context:
        """(N, L) int64, -1 where there is no word -> tokens (N, L, features) and which of them there are."""
        mask = words >= 0
        h = self.words(words.clamp(min=0)) + self.places
        for block in self.blocks:
            h = block(h, mask=mask)
        return Context(self.norm(h), mask)
