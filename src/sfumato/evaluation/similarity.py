"""How alike two pictures are, pixel by pixel (PSNR) and window by window (SSIM)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.errors import InputError

__all__ = ["WINDOW", "psnr", "ssim"]

PEAK = 255.0
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(one: np.ndarray, other: np.ndarray) -> float | None:
    """Peak signal-to-noise ratio in dB: 10·log10(255²/MSE), the mean squared error taken over all pictures together.

    Args:
        one, other: uint8 (N, H, W, C).

    Returns:
        None where not one value differs: the ratio is infinite.

    Raises:
        InputError: for pictures of different shapes.
    """
    _check(one, other)
    errors = [np.square(a.astype(np.float64) - b.astype(np.float64)).mean() for a, b in zip(one, other, strict=True)]
    error = math.fsum(errors) / len(errors)
    return 10 * math.log10(PEAK**2 / error) if error else None


def ssim(one: np.ndarray, other: np.ndarray, batch: int = 64) -> np.ndarray:
    """Structural similarity of each pair of pictures (Wang et al. 2004, "Image quality assessment", eq. 13).

    Means, variances and the covariance are of an 11x11 Gaussian window with σ = 1.5, wherever it lies wholly inside the
    picture; K1 = 0.01, K2 = 0.03, L = 255; then the mean over positions and over colour channels (the paper knows grey
    pictures only).

    Args:
        one, other: uint8 (N, H, W, C), H and W at least 11.
        batch: pictures at once.

    Returns:
        (N,) float64, 1 for equal pictures.

    Raises:
        InputError: for pictures of different shapes, or smaller than the window.
    """
    _check(one, other)
    if min(one.shape[1:3]) < WINDOW:
        raise InputError(f"SSIM needs pictures of at least {WINDOW} x {WINDOW}, not {one.shape[1]} x {one.shape[2]}")
    parts = [_ssim(one[i : i + batch], other[i : i + batch]) for i in range(0, len(one), batch)]
    return np.concatenate(parts)


def _ssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    x, y = (torch.from_numpy(np.array(a)).permute(0, 3, 1, 2).double() for a in (one, other))
    mx, my = _blur(x), _blur(y)
    # means of squares lose digits when the mean is taken off, but float64 has enough of them for 255²
    vx, vy, covariance = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
    structure = (2 * covariance + C2) / (vx + vy + C2)
    return (luminance * structure).mean((1, 2, 3)).numpy()


def _blur(x: Tensor) -> Tensor:
    """The Gaussian window's mean at every position where it fits: (N, C, H, W) -> (N, C, H - 10, W - 10)."""
    offset = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    weight = torch.exp(-offset.square() / (2 * SIGMA**2))
    weight = (weight / weight.sum()).reshape(1, 1, -1, 1)
    rows = F.conv2d(x.flatten(0, 1)[:, None], weight)
    return F.conv2d(rows, weight.transpose(2, 3)).unflatten(0, x.shape[:2])[:, :, 0]


def _check(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape or one.ndim != 4 or not len(one):
        raise InputError(f"pictures to compare must be (N, H, W, C) of one shape, not {one.shape} and {other.shape}")
