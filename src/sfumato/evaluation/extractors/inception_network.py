"""Inception-v3 as FID knows it: the network of 2015-12-05.

The architecture is that of Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision". It differs
from the network that other libraries have under this name: averages leave the border out, the last block pools by the
maximum, and there are 1,008 classes. Layers are named as in the file of its weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.blank import blank

__all__ = ["InceptionV3"]

WIDTH, CLASSES = 2048, 1008

Kernel = tuple[tuple[int, int], int, tuple[int, int]]  # height and width, stride, padding above and beside
Branch = list[list[tuple[str, int, Kernel]]]  # one after the other; side by side: name, channels out, kernel


def _same(height: int, width: int) -> Kernel:
    return (height, width), 1, (height // 2, width // 2)


ONE, THREE, FIVE = _same(1, 1), _same(3, 3), _same(5, 5)
LOW_7, HIGH_7, LOW_3, HIGH_3 = _same(1, 7), _same(7, 1), _same(1, 3), _same(3, 1)
INNER: Kernel = ((3, 3), 1, (0, 0))
HALF: Kernel = ((3, 3), 2, (0, 0))

AVERAGE = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
LARGEST = nn.MaxPool2d(3, stride=1, padding=1)
HALVED = nn.MaxPool2d(3, stride=2)


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, entering: int, out: int, kernel: Kernel) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, out, *kernel, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches side by side, whose channels are joined in this order. The last is given what `pool` makes."""

    def __init__(self, entering: int, pool: nn.Module, *branches: Branch) -> None:
        super().__init__()
        self.pool = pool
        self.branches = [[[name for name, _, _ in layers] for layers in branch] for branch in branches]
        for branch in branches:
            width = entering
            for layers in branch:
                for name, out, kernel in layers:
                    self.add_module(name, Unit(width, out, kernel))
                width = sum(out for _, out, _ in layers)

    def forward(self, x: Tensor) -> Tensor:
        inputs = [x] * (len(self.branches) - 1) + [self.pool(x)]
        return torch.cat([self._through(*pair) for pair in zip(self.branches, inputs, strict=True)], dim=1)

    def _through(self, branch: list[list[str]], x: Tensor) -> Tensor:
        for names in branch:
            x = torch.cat([self.get_submodule(name)(x) for name in names], dim=1)
        return x


def _row(name: str, *layers: tuple[int, Kernel]) -> Branch:
    """Layers one after the other, numbered from 1."""
    return [[(f"{name}_{i}", out, kernel)] for i, (out, kernel) in enumerate(layers, 1)]


def _fork(name: str, number: int, out: int) -> Branch:
    """Two layers side by side, one low and one high, as the last of a row."""
    return [[(f"{name}_{number}a", out, LOW_3), (f"{name}_{number}b", out, HIGH_3)]]


def _a(entering: int, pooled: int) -> Block:
    return Block(
        entering,
        AVERAGE,
        [[("branch1x1", 64, ONE)]],
        _row("branch5x5", (48, ONE), (64, FIVE)),
        _row("branch3x3dbl", (64, ONE), (96, THREE), (96, THREE)),
        [[("branch_pool", pooled, ONE)]],
    )


def _b(entering: int) -> Block:
    double = _row("branch3x3dbl", (64, ONE), (96, THREE), (96, HALF))
    return Block(entering, HALVED, [[("branch3x3", 384, HALF)]], double, [])


def _c(entering: int, narrow: int) -> Block:
    return Block(
        entering,
        AVERAGE,
        [[("branch1x1", 192, ONE)]],
        _row("branch7x7", (narrow, ONE), (narrow, LOW_7), (192, HIGH_7)),
        _row("branch7x7dbl", (narrow, ONE), (narrow, HIGH_7), (narrow, LOW_7), (narrow, HIGH_7), (192, LOW_7)),
        [[("branch_pool", 192, ONE)]],
    )


def _d(entering: int) -> Block:
    long = _row("branch7x7x3", (192, ONE), (192, LOW_7), (192, HIGH_7), (192, HALF))
    return Block(entering, HALVED, _row("branch3x3", (192, ONE), (320, HALF)), long, [])


def _e(entering: int, pool: nn.Module) -> Block:
    return Block(
        entering,
        pool,
        [[("branch1x1", 320, ONE)]],
        _row("branch3x3", (384, ONE)) + _fork("branch3x3", 2, 384),
        _row("branch3x3dbl", (448, ONE), (384, THREE)) + _fork("branch3x3dbl", 3, 384),
        [[("branch_pool", 192, ONE)]],
    )


class InceptionV3(nn.Module):
    """Pictures -> features, and features -> probabilities of its classes."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, HALF)
        self.Conv2d_2a_3x3 = Unit(32, 32, INNER)
        self.Conv2d_2b_3x3 = Unit(32, 64, THREE)
        self.Conv2d_3b_1x1 = Unit(64, 80, ONE)
        self.Conv2d_4a_3x3 = Unit(80, 192, INNER)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32), _a(256, 64), _a(288, 64)
        self.Mixed_6a = _b(288)
        self.Mixed_6b, self.Mixed_6c = _c(768, 128), _c(768, 160)
        self.Mixed_6d, self.Mixed_6e = _c(768, 160), _c(768, 192)
        self.Mixed_7a = _d(768)
        self.Mixed_7b, self.Mixed_7c = _e(1280, AVERAGE), _e(2048, LARGEST)
        self.fc = nn.Linear(WIDTH, CLASSES)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> InceptionV3:
        """With these weights, in evaluation mode, without gradients. `RuntimeError` where names or shapes differ."""
        with blank():
            network = cls()
        network.load_state_dict(tensors, assign=True)
        return network.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) from -1 to 1, H and W from 75 on -> (N, 2048), the last maps averaged over positions."""
        x = HALVED(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = HALVED(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))

    def probabilities(self, features: Tensor) -> Tensor:
        """(N, 2048) -> (N, 1008). Without the last layer's bias, as in the program of Salimans et al. 2016."""
        return F.linear(features, self.fc.weight).softmax(1)
