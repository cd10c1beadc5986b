"""What a contest is about: data to learn from, and samples to judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from bench.coverage.histogram import kl_from_uniform, kl_to_uniform, shares
from torch import Tensor

__all__ = ["Judged", "Problem", "Score", "score"]


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known of N samples.

    Attributes:
        modes: (N,) the mode of each, from 0.
        good: (N,) whether it is a good picture of that mode.
        features: (N, D), where neighbourhoods mean something.
    """

    modes: np.ndarray
    good: np.ndarray
    features: np.ndarray


class Problem(Protocol):
    """Data with `kinds` modes, all equally likely, or nearly so."""

    name: str
    kinds: int
    shape: tuple[int, ...]  # of a sample
    clipped: bool  # whether data end at -1 and 1, as pictures do
    shown: int  # how many samples one looks at

    def train(self, seed: int, first: int, count: int) -> Tensor:
        """Samples to learn from, numbers `first` … of the seed's: (count, *shape) float32."""
        ...

    def held_out(self, seed: int, count: int) -> Tensor:
        """Real samples that training never shows."""
        ...

    def judge(self, samples: Tensor) -> Judged:
        """Look at samples (N, *shape)."""
        ...


@dataclass(frozen=True)
class Score:
    """How samples cover the modes.

    Attributes:
        modes: how many hold a good sample.
        modes_named: how many hold any sample.
        kl: KL(p̂ ‖ u) of the shares of all samples on the modes, nats.
        reverse_kl: KL(u ‖ p̂); none where it is infinite, a mode being without samples.
        good: share of good samples.
        n: samples.
    """

    modes: int
    modes_named: int
    kl: float
    reverse_kl: float | None
    good: float
    n: int


def score(judged: Judged, kinds: int) -> Score:
    """Count the modes."""
    share = shares(judged.modes, kinds)
    reverse = kl_from_uniform(share)
    return Score(
        modes=len(np.unique(judged.modes[judged.good])),
        modes_named=int((share > 0).sum()),
        kl=kl_to_uniform(share),
        reverse_kl=reverse if np.isfinite(reverse) else None,
        good=float(judged.good.mean()),
        n=len(judged.modes),
    )
