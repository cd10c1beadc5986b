"""The Inception network of FID written down once more, line by line on named tensors: the truth of its test.

From the figures of Szegedy et al. 2016, with what the network of 2015-12-05 does otherwise: averages count only what is
there, and the last block takes the maximum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def windows(x, stride):
    """3x3 windows: (N, C, H', W', 3, 3)."""
    return x.unfold(2, 3, stride).unfold(3, 3, stride)


def around(x, value):
    return F.pad(x, (1, 1, 1, 1), value=value)


def average(x):
    return windows(around(x, 0), 1).sum((4, 5)) / windows(around(torch.ones_like(x), 0), 1).sum((4, 5))


def largest(x):
    return windows(around(x, -torch.inf), 1).amax((4, 5))


def halved(x):
    return windows(x, 2).amax((4, 5))


def features(tensors, x):
    """(N, 3, H, W) from -1 to 1 -> (N, 2048)."""

    def unit(name, x, padding=(0, 0), stride=1):
        x = F.conv2d(x, tensors[f"{name}.conv.weight"], None, stride, padding)
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (tensors[f"{name}.bn.{part}"][:, None, None] for part in parts)
        return ((x - mean) / (variance + 0.001).sqrt() * scale + shift).clamp(min=0)

    low, high, both = (0, 3), (3, 0), (1, 1)

    x = unit("Conv2d_1a_3x3", x, stride=2)
    x = unit("Conv2d_2a_3x3", x)
    x = halved(unit("Conv2d_2b_3x3", x, both))
    x = unit("Conv2d_3b_1x1", x)
    x = halved(unit("Conv2d_4a_3x3", x))

    for b in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        one = unit(f"{b}.branch1x1", x)
        five = unit(f"{b}.branch5x5_2", unit(f"{b}.branch5x5_1", x), (2, 2))
        three = unit(f"{b}.branch3x3dbl_2", unit(f"{b}.branch3x3dbl_1", x), both)
        three = unit(f"{b}.branch3x3dbl_3", three, both)
        x = torch.cat([one, five, three, unit(f"{b}.branch_pool", average(x))], 1)

    three = unit("Mixed_6a.branch3x3dbl_2", unit("Mixed_6a.branch3x3dbl_1", x), both)
    three = unit("Mixed_6a.branch3x3dbl_3", three, stride=2)
    x = torch.cat([unit("Mixed_6a.branch3x3", x, stride=2), three, halved(x)], 1)

    for b in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        one = unit(f"{b}.branch1x1", x)
        seven = unit(f"{b}.branch7x7_2", unit(f"{b}.branch7x7_1", x), low)
        seven = unit(f"{b}.branch7x7_3", seven, high)
        long = unit(f"{b}.branch7x7dbl_2", unit(f"{b}.branch7x7dbl_1", x), high)
        long = unit(f"{b}.branch7x7dbl_4", unit(f"{b}.branch7x7dbl_3", long, low), high)
        long = unit(f"{b}.branch7x7dbl_5", long, low)
        x = torch.cat([one, seven, long, unit(f"{b}.branch_pool", average(x))], 1)

    three = unit("Mixed_7a.branch3x3_2", unit("Mixed_7a.branch3x3_1", x), stride=2)
    seven = unit("Mixed_7a.branch7x7x3_2", unit("Mixed_7a.branch7x7x3_1", x), low)
    seven = unit("Mixed_7a.branch7x7x3_4", unit("Mixed_7a.branch7x7x3_3", seven, high), stride=2)
    x = torch.cat([three, seven, halved(x)], 1)

    for b, pool in (("Mixed_7b", average), ("Mixed_7c", largest)):
        one = unit(f"{b}.branch1x1", x)
        three = unit(f"{b}.branch3x3_1", x)
        three = torch.cat([unit(f"{b}.branch3x3_2a", three, (0, 1)), unit(f"{b}.branch3x3_2b", three, (1, 0))], 1)
        double = unit(f"{b}.branch3x3dbl_2", unit(f"{b}.branch3x3dbl_1", x), both)
        double = [unit(f"{b}.branch3x3dbl_3a", double, (0, 1)), unit(f"{b}.branch3x3dbl_3b", double, (1, 0))]
        x = torch.cat([one, three, *double, unit(f"{b}.branch_pool", pool(x))], 1)
    return x.mean((2, 3))
