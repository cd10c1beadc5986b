"""`Preprocessing`: what is done to pictures before a network sees them, and the same in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["IMAGENET", "Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """Bicubic to `size`, antialiased when shrinking, whatever the shape was: nothing is cut off. Then (x - mean)/std.

    Attributes:
        size: height, width.
        mean, std: of the channels R, G, B, for values from 0 to 1, as they are published; 0.5 and 0.5 give -1 … 1.
        clamped: cut off what the interpolation puts beyond the range of pictures.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    clamped: bool = True

    def __post_init__(self) -> None:
        fit = np.isfinite([*self.mean, *self.std]).all() and len(self.mean) == len(self.std) == 3
        if not fit or min(self.std) <= 0 or len(self.size) != 2 or min(self.size) < 1:
            raise InputError(
                "a network's pictures need a size (height, width), and a mean and a positive std of each of three "
                f"channels, not {self.size}, {self.mean} and {self.std}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float32 with values from 0 to 255 -> (N, 3, *size)."""
        x = F.interpolate(x, size=self.size, mode="bicubic", antialias=True)
        mean, std = (x.new_tensor(v).reshape(3, 1, 1) for v in self._of_bytes)
        return ((x.clamp(0, 255) if self.clamped else x) - mean) / std

    def __str__(self) -> str:
        clamped = ", clamped to 0 … 255" if self.clamped else ""
        mean, std = (", ".join(f"{number:.7g}" for number in v) for v in self._of_bytes)
        size = f"{self.size[0]}x{self.size[1]}"
        return f"bicubic to {size}, antialiased when shrinking{clamped}, (x - ({mean}))/({std})"

    @property
    def _of_bytes(self) -> tuple[list[float], list[float]]:
        """Mean and std for values from 0 to 255."""
        return [255 * value for value in self.mean], [255 * value for value in self.std]


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and std that most networks trained on ImageNet expect."""
