"""A distance of pictures as a network sees them: EfficientNet-lite0's feature maps, trained on ImageNet.

Built like LPIPS (Zhang et al. 2018, "The unreasonable effectiveness of deep features", eq. 1), but with another network
and no weights learned from people's judgements: it is not LPIPS, and its numbers compare with none of LPIPS.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sfumato.evaluation.extractors.efficientnet import load_network

__all__ = ["LAYERS", "PerceptualDistance"]

LAYERS = (0, 2, 4, 10)  # blocks after which the maps are compared: 1/2, 1/4, 1/8 and 1/16 of the resolution


class PerceptualDistance:
    """Mean over layers and positions of ‖f(x)/‖f(x)‖ - f(x̂)/‖f(x̂)‖‖², f being the channels at a position.

    Args:
        device: where it works.

    Raises:
        InputError: when the extra `evaluation` is not installed.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._network = load_network(device).requires_grad_(False)

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) in [-1, 1], twice -> (N,), between 0 and 4. Gradients pass through both."""
        maps = zip(self._maps(one), self._maps(other), strict=True)
        return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in maps]).mean(0)

    def _maps(self, x: Tensor) -> list[Tensor]:
        net = self._network
        values = (x.expand(-1, 3, -1, -1) + 1) * 127.5
        h = net._swish(net._bn0(net._conv_stem((values - 127) / 128)))
        maps = []
        for index, block in enumerate(net._blocks[: LAYERS[-1] + 1]):
            h = block(h)
            if index in LAYERS:
                maps.append(nn.functional.normalize(h, dim=1, eps=1e-6))
        return maps
