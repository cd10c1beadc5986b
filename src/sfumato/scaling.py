"""Between pictures of bytes and tensors in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["to_uint8", "to_unit"]


def to_unit(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.require(images, requirements=["C", "W"])).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] -> uint8 (N, H, W, C), rounded to the nearest level."""
    return x.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()
