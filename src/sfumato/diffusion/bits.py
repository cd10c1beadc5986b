"""The variational bound in bits: what Gaussian and discrete diffusion share.

    -log p(x_0) ≤ L_T + L_{T-1} + … + L_1 + L_0                              Ho et al. 2020, eq. 5

    L_T = KL(q(x_T|x_0) ‖ p(x_T)),  L_t = E KL(q(x_t|x_{t+1}, x_0) ‖ p(x_t|x_{t+1})),  L_0 = E[-log p(x_0|x_1)]

Everything is counted in bits per dimension: divided by log 2 and by the number of values of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import DivergedError, InputError

__all__ = ["Bound", "check_finite", "check_pictures", "chosen_terms", "falling_times", "in_bits"]


@dataclass(frozen=True, eq=False)
class Bound:
    """The variational bound of N pictures, term by term, in bits per dimension (float64, on the CPU).

    Attributes:
        times: (T+1,) falling, from noise to data at t = 0.
        chosen: (n,) the terms that were evaluated: term k belongs to the step from times[k] to times[k+1].
        prior: (N,) L_T, exact.
        terms: (N, n) one draw of each chosen term; where all are chosen, L_{T-1} … L_1, L_0.
    """

    times: np.ndarray
    chosen: np.ndarray
    prior: Tensor
    terms: Tensor

    @property
    def complete(self) -> bool:
        """Whether every term was evaluated once."""
        return np.array_equal(np.sort(self.chosen), np.arange(len(self.times) - 1))

    @property
    def total(self) -> Tensor:
        """(N,) the bound; when not complete, its estimate, unbiased where every term was equally likely chosen."""
        return self.prior + self.terms.sum(1) * ((len(self.times) - 1) / len(self.chosen))


def in_bits(nats: Tensor) -> Tensor:
    """Nats of every value (N, …) as bits per dimension of every picture (N,)."""
    return nats.flatten(1).mean(1) / math.log(2)


def falling_times(steps: int, times: Sequence[float] | np.ndarray | None) -> np.ndarray:
    """(n+1,) float64: the given times, or 1, (T-1)/T … 1/T, 0.

    Raises `InputError` unless they fall strictly, within [0, 1], and end at 0.
    """
    if times is None:
        return np.arange(steps, -1, -1) / steps
    values = np.asarray(times, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise InputError("times are a list of at least two numbers: where the noise is, and 0 for the data")
    if not (np.diff(values) < 0).all() or not values[0] <= 1 or values[-1] != 0:
        raise InputError(f"times fall strictly from at most 1 (noise) to 0 (data), not {_shown(values)}")
    return values


def chosen_terms(terms: int, only: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """(n,) int64: the numbers of the terms to evaluate, or all. Raises `InputError` for any that does not exist."""
    if only is None:
        return np.arange(terms)
    chosen = np.asarray(only)
    if chosen.ndim != 1 or len(chosen) == 0 or not np.issubdtype(chosen.dtype, np.integer):
        raise InputError(f"the terms to evaluate are a list of whole numbers from 0 to {terms - 1}, not {only!r}")
    if chosen.min() < 0 or chosen.max() >= terms:
        raise InputError(f"the terms are numbered 0 (the first step from noise) to {terms - 1}, not {_shown(chosen)}")
    return chosen.astype(np.int64)


def check_pictures(x0: Tensor) -> Tensor:
    """Return `x0`; raise `InputError` unless it is (N, …), N > 0, of finite floating-point numbers."""
    if x0.ndim < 2 or x0.numel() == 0 or not x0.is_floating_point():
        raise InputError(f"pictures are a tensor (N, …) of floats in [-1, 1], not {tuple(x0.shape)} of {x0.dtype}")
    if not bool(torch.isfinite(x0).all()):
        raise InputError("the pictures hold NaN or infinity")
    return x0


def check_finite(output: Tensor, shape: Sequence[int], t: float) -> Tensor:
    """Return what a network put out at t; raise when it is of another shape, or not finite."""
    if tuple(output.shape) != tuple(shape):
        raise InputError(f"at t = {t:.5f} the network put out {tuple(output.shape)} where {tuple(shape)} was expected")
    if not bool(torch.isfinite(output).all()):
        raise DivergedError(f"at t = {t:.5f} the network put out a number that is NaN or infinite")
    return output


def _shown(values: np.ndarray) -> str:
    return np.array2string(values, threshold=8, edgeitems=3, separator=", ")
