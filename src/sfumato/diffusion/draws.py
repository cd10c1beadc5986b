"""Random numbers of pictures that are not normal: uniform, signs, and which terms of a sum to take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.seeds import Stream, check_seed, generator

__all__ = ["Seed", "Seeds", "check_seeds", "signs", "strata", "uniform"]

Seed = int | tuple[int, int]
Seeds = Sequence[Seed]
"""One entry a picture: its seed, or a pair (seed, picture) where a seed stands for many pictures."""


def check_seeds(seeds: Seeds, pictures: int) -> list[tuple[int, int]]:
    """The seeds as pairs (seed, picture); raise `InputError` unless there is a proper one for each picture."""
    if len(seeds) != pictures:
        raise InputError(f"{pictures} pictures need a seed each, got {len(seeds)}")
    pairs = [seed if isinstance(seed, tuple) else (seed, 0) for seed in seeds]
    return [(check_seed(seed), check_seed(picture)) for seed, picture in pairs]


def uniform(seeds: Seeds, shape: Sequence[int], stream: Stream, step: int = 0) -> Tensor:
    """Uniform on [0, 1), float64 (N, *shape) on the CPU: a function of (seed, picture, stream, step)."""
    rows = [generator(*pair, stream, step).random(tuple(shape)) for pair in check_seeds(seeds, len(seeds))]
    return torch.from_numpy(np.stack(rows) if rows else np.empty((0, *shape)))


def signs(seeds: Seeds, shape: Sequence[int], stream: Stream, step: int = 0) -> Tensor:
    """-1 or 1, each with a chance of a half (Rademacher), float32 (N, *shape) on the CPU."""
    return (uniform(seeds, shape, stream, step) < 0.5).float() * 2 - 1


def strata(terms: int, count: int) -> np.ndarray:
    """(count + 1,) rising from 0 to `terms`: the ends of strata that grow towards the end, about geometrically.

    The first holds one term, so that what costs most, next to the data, is never left to chance: a term drawn from each
    stratum counts as often as its stratum has terms, which is unbiased. `InputError` for fewer than 2 or too many.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 2 <= count <= terms:
        raise InputError(f"of {terms} terms one can draw a whole number from 2 to {terms}, not {count!r}")
    ends = [0]
    for end in np.rint(np.geomspace(1, terms, count)).astype(int).tolist():
        ends.append(max(ends[-1] + 1, end))
    return np.array(ends)
