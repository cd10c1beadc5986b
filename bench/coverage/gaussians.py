"""The 25 Gaussians: equally likely, on a 5x5 grid in the plane (as in Srivastava et al. 2017; Lin et al. 2018)."""

from __future__ import annotations

import numpy as np
import torch
from bench.coverage.endless import rows
from bench.coverage.problem import Judged
from torch import Tensor

__all__ = ["CENTRES", "NEAR", "SCALE", "STD", "Gaussians", "nearest_mode"]

SIDE, SPACING, STD = 5, 2.0, 0.05
NEAR = 3 * STD  # a sample this near to a centre is good: so are 98.9 % of real ones
SCALE = 8**0.5  # the standard deviation of a coordinate, by which it is divided: networks like unit variance
_LINE = SPACING * (np.arange(SIDE) - (SIDE - 1) / 2)
CENTRES = np.stack(np.meshgrid(_LINE, _LINE, indexing="ij"), axis=-1).reshape(-1, 2)  # (25, 2)


def nearest_mode(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre to each point (N, 2), and whether the point is within `NEAR` of it."""
    distance = np.linalg.norm(points[:, None] - CENTRES, axis=-1)
    modes = distance.argmin(1)
    return modes, distance[np.arange(len(points)), modes] <= NEAR


class Gaussians:
    """See `problem.Problem`. Samples are points over `SCALE`."""

    name, kinds, shape, clipped, shown = "gaussians", SIDE * SIDE, (2,), False, 2500

    def train(self, seed: int, first: int, count: int) -> Tensor:
        return torch.from_numpy(rows(seed, first, count, _points)).float()

    def held_out(self, seed: int, count: int) -> Tensor:
        """The law is known: all other seeds are held out."""
        return self.train(seed, 0, count)

    def judge(self, samples: Tensor) -> Judged:
        points = samples.double().numpy() * SCALE
        return Judged(*nearest_mode(points), features=points)


def _points(random: np.random.Generator, count: int) -> np.ndarray:
    chosen = random.integers(len(CENTRES), size=count)
    return (CENTRES[chosen] + STD * random.standard_normal((count, 2))) / SCALE
