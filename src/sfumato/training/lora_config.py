"""Whether a run learns a small adapter in the place of all weights, as a frozen value. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sfumato.errors import InputError

__all__ = ["LoraConfig"]


@dataclass(frozen=True)
class LoraConfig:
    """A LoRA: the model that the run goes on from stays as it is, and low-rank changes of its layers are learned."""

    rank: int | None = None
    """learn an adapter of this rank, such as 8; none: learn all weights"""
    alpha: float | None = None
    """strength: changes are alpha/rank times the product of their factors; default: the rank"""
    targets: Literal["attention", "convolutions", "all"] = "all"
    """layers to change: of the attentions, the convolutions of blocks and changes of resolution, or both"""

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise InputError(f"lora.rank must be at least 1, not {self.rank}")
        if self.rank is None and (self.alpha is not None or self.targets != "all"):
            raise InputError("lora.alpha and lora.targets belong to an adapter: give lora.rank too, such as 8")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise InputError(f"lora.alpha must be above 0, not {self.alpha}")

    @property
    def strength(self) -> float:
        """alpha, or its default."""
        assert self.rank is not None  # without one there is no adapter
        return float(self.rank if self.alpha is None else self.alpha)
