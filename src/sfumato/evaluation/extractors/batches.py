"""A network on any number of pictures: batch by batch, grey ones as colour, in plain float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["BATCH", "in_batches"]

BATCH = 64


def in_batches(
    embed: Callable[[Tensor], Tensor], device: str = "cpu", batch: int = BATCH
) -> Callable[[np.ndarray], np.ndarray]:
    """The features of any number of pictures, from a function of a few.

    Args:
        embed: (N, 3, H, W) float32 with values from 0 to 255, on the device -> (N, …), which is flattened to (N, D).
            Called without gradients.
        device: where it works.
        batch: pictures at a time.

    Returns:
        What `Extractor.features` is. It raises `InputError` for what are no pictures, or where `embed` makes no row of
        each.
    """

    @torch.inference_mode()
    def features(images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
            raise InputError(
                f"features are of pictures, uint8 (n, H, W, 1 or 3), not {images.dtype} {images.shape}: convert them"
            )
        parts = []
        # cuDNN's convolutions are in TF32 unless told otherwise: on a GPU three digits would be left
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            for first in range(0, len(images), batch):
                x = torch.from_numpy(np.array(images[first : first + batch])).to(device).permute(0, 3, 1, 2).float()
                made = embed(x.expand(-1, 3, -1, -1))
                if made.ndim < 2 or len(made) != len(x):
                    raise InputError(f"the network makes {tuple(made.shape)} of {len(x)} pictures, not a row of each")
                parts.append(made.flatten(1).float().cpu())
        return torch.cat(parts).numpy()

    return features
