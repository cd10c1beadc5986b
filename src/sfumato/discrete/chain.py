"""The forward process q on K states: a Markov chain, whose every law is a product of matrices.

    q(x_t = j | x_{t-1} = i) = Q_t[i, j]
    q(x_t = j | x_0 = i)     = Q̄_t[i, j],   Q̄_t = Q_1·Q_2 … Q_t
    q(x_s = k | x_t, x_0)    = Q̄_s[x_0, k]·Q_st[k, x_t] / Q̄_t[x_0, x_t]    s < t; Q_st = Q_{s+1} … Q_t

(Austin et al. 2021.) Every value of a picture (a bit, a letter, a pixel's level) goes its own way.
"""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from sfumato.discrete.betas import check_betas
from sfumato.errors import InputError

__all__ = ["MAX_BYTES", "Chain", "Time", "categorical"]

Time = float | Tensor
"""0, 1/T … 1: one, or one a picture (N,)."""

MAX_BYTES = 2**31


class Chain:
    """An immutable chain of T steps on K states.

    Args:
        matrices: (T, K, K) Q_1 … Q_T, of rows that sum to 1. They and their products are kept in float64: (2T + 1)·K²
            numbers, at most 2 GiB.
        prior: (K,) p(x_T), what sampling begins with; for the kernels below what the chain tends to.
        name: for listings.

    Raises:
        InputError: for matrices or a prior of other shapes, or that are no probabilities.
    """

    def __init__(self, matrices: np.ndarray, prior: np.ndarray, name: str = "custom") -> None:
        single, prior = np.asarray(matrices, np.float64), np.asarray(prior, np.float64)
        if single.ndim != 3 or 0 in single.shape or single.shape[1] != single.shape[2] or single.shape[1] < 2:
            raise InputError(f"chain {name!r}: matrices are (T, K, K), T ≥ 1, K ≥ 2, not {single.shape}")
        if prior.shape != single.shape[1:2]:
            raise InputError(f"chain {name!r}: the prior is ({single.shape[1]},), not {prior.shape}")
        for what, rows in (("every row of the matrices", single), ("the prior", prior[None])):
            if not ((rows >= 0).all() and np.allclose(rows.sum(-1), 1, rtol=0, atol=1e-9)):
                raise InputError(f"chain {name!r}: {what} must be probabilities that sum to 1")
        products = np.stack([*itertools.accumulate(single, np.matmul, initial=np.eye(len(prior)))])
        self.name, self.steps, self.states = name, len(single), len(prior)
        self.prior = torch.from_numpy(prior.copy())
        self.single = torch.from_numpy(single.copy())  # (T, K, K) Q_1 … Q_T
        self.cumulative = torch.from_numpy(products)  # (T+1, K, K) Q̄_0 = 1 … Q̄_T

    @classmethod
    def uniform(cls, betas: np.ndarray, states: int) -> Chain:
        """With chance β_t a value is drawn anew, evenly: Q_t = (1 - β_t)·1 + β_t/K (Austin et al. 2021, A.2.1).

        K = 2 is the binomial diffusion of Sohl-Dickstein et al. 2015, table 1: x_t is 1 with chance
        x_{t-1}·(1 - β_t) + β_t/2.
        """
        betas = _room(betas, states)
        even = np.full((states, states), 1 / states)
        return cls((1 - betas) * np.eye(states) + betas * even, even[0], "uniform")

    @classmethod
    def absorbing(cls, betas: np.ndarray, states: int, absorbing: int | None = None) -> Chain:
        """With chance β_t a value is lost for good: it becomes the absorbing state, by default the last, and stays
        (Austin et al. 2021, A.2.2). Data may not know that state (a mask), or know it (mid-grey).
        """
        betas = _room(betas, states)
        absorbing = states - 1 if absorbing is None else absorbing
        if isinstance(absorbing, bool) or not isinstance(absorbing, int) or not 0 <= absorbing < states:
            raise InputError(f"the absorbing state is one of 0 … {states - 1}, not {absorbing!r}")
        lost = np.eye(states)[absorbing]
        return cls((1 - betas) * np.eye(states) + betas * lost, lost, f"absorbing in {absorbing}")

    @classmethod
    def gaussian(cls, betas: np.ndarray, states: int) -> Chain:
        """A value goes to its neighbours: Q_t[i, j] ∝ exp(-4·(i - j)²/((K - 1)²·β_t)) for i ≠ j, over the sum of this
        for -(K - 1) … K - 1; what is left stays. So columns sum to 1 as well, and even is what it tends to (Austin et
        al. 2021, A.2.3). With levels on [-1, 1] that is a Gaussian of variance β_t/2 a step.
        """
        betas = _room(betas, states)
        distance = np.abs(np.subtract.outer(np.arange(states), np.arange(states)))
        weight = np.exp(-4 * np.arange(states) ** 2 / ((states - 1) ** 2 * betas[:, 0]))  # (T, K)
        share = weight / (2 * weight.sum(1, keepdims=True) - 1)  # (of both sides, and of distance 0 once)
        matrices = np.where(distance > 0, share[:, distance], 0.0)
        matrices += (1 - matrices.sum(2, keepdims=True)) * np.eye(states)
        return cls(matrices, np.full(states, 1 / states), "gaussian")

    def index(self, t: Time) -> Tensor:
        """The number of the step, 0 … T: int64, () or (N,). Raises `InputError` for a time between two steps."""
        time = torch.as_tensor(t, dtype=torch.float64, device="cpu")
        index = (time * self.steps).round()
        known = ((time * self.steps - index).abs() < 0.01) & (index >= 0) & (index <= self.steps)
        if time.ndim > 1 or not bool(known.all()):
            raise InputError(f"a chain of {self.steps} steps knows the times 0, 1/{self.steps} … 1, not {t}")
        return index.long()

    def check(self, x: Tensor) -> Tensor:
        """Return `x`; raise `InputError` unless it is int64 (N, …), N > 0, of states 0 … K-1."""
        if x.dtype != torch.int64 or x.ndim < 2 or x.numel() == 0:
            raise InputError(f"pictures are a tensor (N, …) of int64 states, not {tuple(x.shape)} of {x.dtype}")
        if x.min() < 0 or x.max() >= self.states:
            raise InputError(f"states are 0 … {self.states - 1}, not {x.min().item()} … {x.max().item()}")
        return x

    def marginal(self, x0: Tensor, t: Time) -> Tensor:
        """q(x_t|x_0), a distribution for every value: (N, …, K) float64."""
        return _rows(self.cumulative[self.index(t)], self.check(x0))

    def draw(self, x0: Tensor, t: Time, uniform: Tensor) -> Tensor:
        """x_t ~ q(x_t|x_0), from numbers that are `uniform` on [0, 1), shape of `x0`."""
        return categorical(self.marginal(x0, t), uniform)

    def posterior(self, x0: Tensor, xt: Tensor, t: Time, s: Time) -> Tensor:
        """q(x_s|x_t, x_0), s < t, a distribution for every value: (N, …, K) float64.

        Raises `InputError` where x_t cannot come of x_0.
        """
        if self.check(xt).shape != x0.shape:
            raise InputError(f"x_0 and x_t are of different shapes: {tuple(x0.shape)} and {tuple(xt.shape)}")
        joint = self.marginal(x0, s) * self.likelihood(xt, t, s)
        total = joint.sum(-1, keepdim=True)
        if not bool((total > 0).all()):
            raise InputError(f"at t = {t} there is a value that its x_0 cannot become")
        return joint / total

    def likelihood(self, xt: Tensor, t: Time, s: Time) -> Tensor:
        """q(x_t | x_s = k) for every k, s < t: (N, …, K) float64; s = 0 for what x_t says of x_0."""
        return _rows(self.between(s, t).mT, self.check(xt))

    def between(self, s: Time, t: Time) -> Tensor:
        """Q_st, the transition from s to t > s: (K, K), or (N, K, K) for a pair a picture."""
        first, last = torch.broadcast_tensors(self.index(s), self.index(t))
        if not bool((first < last).all()):
            raise InputError(f"the earlier time s must lie below t (0 is data, 1 is noise); got s = {s}, t = {t}")
        if bool((first == 0).all()):
            return self.cumulative[last]
        if bool((last - first == 1).all()):
            return self.single[first]
        pairs = zip(first.flatten().tolist(), last.flatten().tolist(), strict=True)
        products = [reduce(torch.matmul, self.single[a:b]) for a, b in pairs]
        return torch.stack(products) if first.ndim else products[0]

    def __repr__(self) -> str:
        return f"Chain({self.name}, {self.states} states, {self.steps} steps)"


def categorical(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """A state of each distribution (…, K) by one number of [0, 1) each (…): the first whose cumulative sum exceeds it.

    int64, of the shape of `uniform`. A state of probability 0 is never drawn.
    """
    if tuple(uniform.shape) != tuple(probabilities.shape[:-1]):
        raise InputError(
            f"{tuple(probabilities.shape[:-1])} values need as many random numbers, not {tuple(uniform.shape)}"
        )
    sums = probabilities.cumsum(-1)
    total = sums[..., -1:]
    at = uniform[..., None].to(sums) * total  # rounding may leave the sum a digit off 1
    return (sums <= torch.minimum(at, torch.nextafter(total, torch.zeros_like(total)))).sum(-1)


def _rows(matrix: Tensor, x: Tensor) -> Tensor:
    """matrix[x] for every value (N, …) -> (N, …, K); `matrix` (K, K), or one a picture (N, K, K)."""
    matrix = matrix.to(x.device)
    if matrix.ndim == 2:
        return matrix[x]
    if len(matrix) != len(x):
        raise InputError(f"{len(x)} pictures need as many times, or one for all, not {len(matrix)}")
    return matrix[torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1)), x]


def _room(betas: np.ndarray, states: int) -> np.ndarray:
    """β as (T, 1, 1); raises `InputError` for numbers of states that are none, or too many for the memory."""
    if isinstance(states, bool) or not isinstance(states, int) or states < 2:
        raise InputError(f"a chain has at least two states, not {states!r}")
    betas = check_betas(betas)
    if (2 * len(betas) + 1) * states**2 * 8 > MAX_BYTES:
        raise InputError(
            f"{len(betas)} steps on {states} states need more than 2 GiB of matrices; take fewer of either"
        )
    return betas[:, None, None]
