"""Loss by time: how well a network does from data to noise. The picture that tells whether training works.

Sums over buckets of t, made on the device at each step and looked at with the next line of the log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

__all__ = ["BUCKETS", "ByTime", "bucket_of", "in_buckets"]

BUCKETS = 10
NONE = (0.0,) * BUCKETS
MOST = 1e30  # what stands for an error beyond float32, of which checkpoints could not tell


@dataclass(frozen=True)
class ByTime:
    """Sums over the pictures of each bucket: the first holds the times in (0, 1/10], the last those in (9/10, 1].

    Attributes:
        pictures: how many.
        loss: the squared error as the run weighs it.
        trivial: what the trivial predictor (`diffusion.trivial`) would have lost by the same weighting.
        v_error: the squared error of v, which is the same thing for all predictions and weightings.
    """

    pictures: tuple[float, ...] = NONE
    loss: tuple[float, ...] = NONE
    trivial: tuple[float, ...] = NONE
    v_error: tuple[float, ...] = NONE

    def plus(self, values: Sequence[float]) -> ByTime:
        """With what `in_buckets` found, flattened, or nothing."""
        rows = [values[i : i + BUCKETS] for i in range(0, len(values), BUCKETS)]
        names = [field.name for field in fields(self)]
        if not rows:
            return self
        return ByTime(
            *(
                tuple(a + (b if math.isfinite(b) else MOST) for a, b in zip(getattr(self, name), row, strict=True))
                for name, row in zip(names, rows, strict=True)
            )
        )

    def means(self) -> dict[str, list[float | None]]:
        """For the log: how many pictures, and the means over them, to six digits; None where there were none."""
        parts = {"loss": self.loss, "trivial": self.trivial, "v_error": self.v_error}
        told: dict[str, list[float | None]] = {"pictures": [int(count) for count in self.pictures]}
        for name, sums in parts.items():
            told[name] = [float(f"{s / n:.6g}") if n else None for s, n in zip(sums, self.pictures, strict=True)]
        return told


def bucket_of(t: Tensor) -> Tensor:
    """Which bucket each time (N,) in (0, 1] lies in: int64, from 0."""
    return (torch.ceil(t * BUCKETS - 1e-9) - 1).long().clamp(0, BUCKETS - 1)  # 3/10 · 10 may be a little more than 3


def in_buckets(t: Tensor, values: Tensor) -> Tensor:
    """Sums of values (K, N), on any device, over the buckets of their times t (N,), on the CPU: (K, BUCKETS).

    Of the same numbers it is the same to the last bit: no GPU adds here in an order of its own.
    """
    bucket = bucket_of(t).to(values.device, non_blocking=True)
    inside = bucket == torch.arange(BUCKETS, device=values.device)[:, None]  # (BUCKETS, N)
    return torch.where(inside, values[:, None], 0).sum(-1)
