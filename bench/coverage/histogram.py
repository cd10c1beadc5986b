"""How evenly samples fall on modes that are equally likely in truth."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["kl_from_uniform", "kl_to_uniform", "shares"]


def shares(modes: np.ndarray, kinds: int) -> np.ndarray:
    """The share of samples on each of `kinds` modes: (kinds,), from the mode (N,) of each sample, N ≥ 1."""
    return np.bincount(modes, minlength=kinds) / len(modes)


def kl_to_uniform(share: np.ndarray) -> float:
    """KL(p̂ ‖ u) = log K - H(p̂), in nats, as the literature on modes reports it. log K when all is on one of K modes."""
    there = share[share > 0]
    return float(math.log(len(share)) + (there * np.log(there)).sum())


def kl_from_uniform(share: np.ndarray) -> float:
    """KL(u ‖ p̂), in nats, which missing modes make infinite."""
    if (share == 0).any():
        return math.inf
    return float(-math.log(len(share)) - np.log(share).mean())
