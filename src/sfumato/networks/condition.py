"""What a network is told besides the noisy picture and its time: labels, words, text, further channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["Condition", "Context"]


class Context(NamedTuple):
    """What cross-attention looks at."""

    tokens: Tensor  # (N, L, D)
    mask: Tensor | None  # (N, L), true where there is a token; none: everywhere

    def mean(self) -> Tensor:
        """The mean of the tokens that are there: (N, D)."""
        if self.mask is None:
            return self.tokens.mean(1)
        there = self.mask[:, :, None].to(self.tokens)
        return (self.tokens * there).sum(1) / there.sum(1)


@dataclass(frozen=True)
class Condition:
    """Everything that N pictures are conditioned on. What is None is not there.

    Attributes:
        labels: (N, K) int64, one column for each kind; -1 for none.
        words: (N, L) int64, what a text encoder that is part of the network reads; -1 where there is no word.
        context: (N, L, D), a text as another encoder has read it.
        mask: (N, L) bool, true where there is a token of `context`; None: everywhere.
        pictures: (N, C, H, W) further input channels: a mask, a smaller picture.
    """

    labels: Tensor | None = None
    words: Tensor | None = None
    context: Tensor | None = None
    mask: Tensor | None = None
    pictures: Tensor | None = None

    @classmethod
    def of(cls, value: Condition | Tensor | None) -> Condition:
        """A condition as it is; a tensor stands for labels."""
        return value if isinstance(value, Condition) else cls(labels=value)

    @classmethod
    def of_context(cls, context: Context) -> Condition:
        """A text that has been read."""
        return cls(context=context.tokens, mask=context.mask)

    def map(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """Every part that is there, changed."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Condition(**{name: change(value) for name, value in parts.items() if value is not None})

    def __getitem__(self, part: slice | Tensor) -> Condition:
        """Some of the pictures."""
        return self.map(lambda value: value[part])

    def to(self, device: torch.device | str) -> Condition:
        """On another device."""
        return self.map(lambda value: value.to(device))

    def and_then(self, other: Condition) -> Condition:
        """The pictures of both, one after the other. Raises `InputError` when their parts differ in kind or shape."""
        parts = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            shapes = [None if value is None else tuple(value.shape) for value in (mine, theirs)]
            if shapes[0] != shapes[1]:
                raise InputError(f"{f.name} of two conditions must have one shape, not {shapes[0]} and {shapes[1]}")
            if mine is not None:
                parts[f.name] = torch.cat([mine, theirs])
        return Condition(**parts)

    def equals(self, other: Condition) -> bool:
        """Whether both say the same."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)
