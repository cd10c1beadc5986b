"""Large pictures through an autoencoder in overlapping tiles, so that memory is bounded by the tile.

Tiles are cut on the grid of the latent. Of an overlap, each tile loses the outer quarter, where its border shows;
over the middle half the weights cross linearly. Where the result of a position depends only on what lies within a
quarter of the overlap, tiling changes nothing. An autoencoder's normalisation and attention look further (at the whole
tile instead of the whole picture), so there the result is close, not equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.networks.autoencoder import Autoencoder, Posterior

__all__ = ["OVERLAP", "TILE", "decode_tiled", "encode_tiled", "starts", "tiled"]

TILE, OVERLAP = 64, 16  # positions of the latent: 512 and 128 pixels at a factor of 8


def encode_tiled(network: Autoencoder, x: Tensor, tile: int = TILE, overlap: int = OVERLAP) -> Posterior:
    """As `network.encode`, in tiles of tile·factor pixels. Means and log-variances are blended. No gradient.

    Args:
        network: the autoencoder.
        x: (N, C, H, W) in [-1, 1], H and W multiples of the factor.
        tile, overlap: positions of the latent, 1 ≤ overlap ≤ tile/2.

    Raises:
        InputError: for a size that does not fit, or an impossible tile.
    """
    network.config.check_size(*x.shape[-2:])
    return Posterior.from_moments(tiled(network.moments, x, tile, overlap, network.factor, 1))


def decode_tiled(network: Autoencoder, z: Tensor, tile: int = TILE, overlap: int = OVERLAP) -> Tensor:
    """As `network.decode`, in tiles of tile x tile positions of the latent. Arguments as in `encode_tiled`."""
    return tiled(network.decode, z, tile, overlap, 1, network.factor)


@torch.no_grad()
def tiled(
    function: Callable[[Tensor], Tensor], source: Tensor, tile: int, overlap: int, unit_in: int, unit_out: int
) -> Tensor:
    """`function` on tiles of `source`, blended.

    Args:
        function: (1, C, h·unit_in, w·unit_in) -> (1, C', h·unit_out, w·unit_out).
        source: (N, C, H·unit_in, W·unit_in). One tile of one picture is worked on at a time.
        tile, overlap: side of a tile, and by how much neighbours overlap at least, on the grid of H and W.
        unit_in, unit_out: pixels to a step of that grid.

    Returns:
        (N, C', H·unit_out, W·unit_out); exactly `function` of each picture where one tile holds it all.
    """
    if not 1 <= overlap <= tile / 2:
        raise InputError(f"tiles of {tile} cannot overlap by {overlap}: at least 1, at most half a tile")
    height, width = (side // unit_in for side in source.shape[-2:])
    rows, columns = starts(height, tile, overlap), starts(width, tile, overlap)
    high, wide = min(tile, height), min(tile, width)
    if len(rows) == len(columns) == 1:
        return torch.cat([function(picture) for picture in source.split(1)])
    down = [w.to(source) for w in _weights(height, rows, high, overlap, unit_out)]
    across = [w.to(source) for w in _weights(width, columns, wide, overlap, unit_out)]
    pictures = []
    for picture in source.split(1):
        result = None
        for top, vertical in zip(rows, down, strict=True):
            for left, horizontal in zip(columns, across, strict=True):
                part = function(_window(picture, top, left, high, wide, unit_in))
                if result is None:
                    result = part.new_zeros(1, part.shape[1], height * unit_out, width * unit_out)
                part = part * vertical[:, None] * horizontal
                _window(result, top, left, high, wide, unit_out).add_(part)
        assert result is not None  # there is at least one tile
        pictures.append(result)
    return torch.cat(pictures)


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles begin that cover `length`: as few as can be, evenly spread, overlapping by at least `overlap`."""
    if length <= tile:
        return [0]
    gaps = math.ceil((length - tile) / (tile - overlap))
    return [i * (length - tile) // gaps for i in range(gaps + 1)]


def _weights(length: int, begins: list[int], size: int, overlap: int, unit: int) -> list[Tensor]:
    """For each tile its weights along one axis, (size·unit,) float64; over all tiles they add up to 1 everywhere."""
    centre = torch.arange(size * unit, dtype=torch.float64) + 0.5
    margin, ramp = overlap * unit / 4, overlap * unit / 2

    def fade(distance: Tensor) -> Tensor:
        return ((distance - margin) / ramp).clamp(0, 1)

    total, weights = torch.zeros(length * unit, dtype=torch.float64), []
    for begin in begins:
        first, last = begin == 0, begin + size == length  # nothing fades at the edge of the picture
        up = torch.ones_like(centre) if first else fade(centre)
        down = torch.ones_like(centre) if last else fade(size * unit - centre)
        weights.append(torch.minimum(up, down))
        total[begin * unit : (begin + size) * unit] += weights[-1]
    return [w / total[b * unit : (b + size) * unit] for w, b in zip(weights, begins, strict=True)]


def _window(x: Tensor, top: int, left: int, height: int, width: int, unit: int) -> Tensor:
    return x[:, :, top * unit : (top + height) * unit, left * unit : (left + width) * unit]
