"""Scaled dot-product attention, all of it in one place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend"]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, most_scores: int | None = None) -> Tensor:
    """softmax(q·kᵀ/√d)·v (Vaswani et al. 2017, eq. 1).

    Every row of the result depends on one query alone, so that queries can take their turns: `most_scores` bounds the
    numbers q·kᵀ that exist at once, where the library has no kernel that makes them by blocks (Rabe & Staats 2021).

    Args:
        q: (N, heads, P, d).
        k, v: (N, heads, L, d).
        mask: (N, L) bool, true where there is something to look at; None: everywhere.
        most_scores: bound on N·heads·queries·L in one piece; at least one query is. None: all at once.

    Returns:
        (N, heads, P, d).
    """
    seen = None if mask is None else mask[:, None, None, :]
    batch, heads, queries, _ = q.shape
    rows = queries if most_scores is None else max(1, most_scores // (batch * heads * k.shape[2]))
    if rows >= queries:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    pieces = [F.scaled_dot_product_attention(piece, k, v, attn_mask=seen) for piece in q.split(rows, dim=2)]
    return torch.cat(pieces, dim=2)
