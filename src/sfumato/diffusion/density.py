"""log p(x_0) by the probability-flow ODE (Song et al. 2021, "Score-based generative modeling …", eq. 13 and 39).

The flow carries data to noise one-to-one, and log p changes along it by minus the divergence of the slope. With

    x = x_t/√(α_t² + σ_t²),   α = cos φ, σ = sin φ,   w = log tan(φ/2)

(x is x_t itself where variance is preserved) both read

    dx/dw = α·x - x̂0(x),      d log p/dw = -(α·D - tr ∂x̂0/∂x),

for dx/dφ = (α·x - x̂0)/σ = -v̂ (Salimans & Ho 2022, appendix D) and dw/dφ = 1/σ. Nothing is divided by α or σ: the slope
fades towards the data, w → -∞, and is just -x̂0 at pure noise, w = 0. It begins at `start`, the least noise that the
network knows, and what lies between that and the data is put in by its leading term: in ρ = σ/α the slope of x_t/α
grows in proportion from 0, so the first ρ adds half of what it finds, to x and to log p alike, wrong by O(ρ⁴).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.bits import check_finite, check_pictures
from sfumato.diffusion.decoder import levels
from sfumato.diffusion.draws import Seeds, check_seeds, signs, uniform
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.seeds import Stream

__all__ = ["FlowLikelihood", "dequantised", "flow_likelihood"]


@dataclass(frozen=True, eq=False)
class FlowLikelihood:
    """The likelihood of N pictures of D values under the flow.

    Attributes:
        log_density: (N,) log p(x_0) in nats, float64 on the CPU: exact up to the steps, or an estimate by probes.
        noise: (N, …) where the flow ends, at `end`: x_t.
        start, end: the times it runs between.
        calls: of the network; each has also one backward pass for every probe, or for every value.
    """

    log_density: Tensor
    noise: Tensor
    start: float
    end: float
    calls: int

    @property
    def bits(self) -> Tensor:
        """(N,) -log2 p(x_0)/D: bits per dimension of the density on [-1, 1]. It can be negative."""
        return -self.log_density / (self.noise[0].numel() * math.log(2))

    @property
    def byte_bits(self) -> Tensor:
        """(N,) bits per dimension of a picture of bytes, where x_0 was `dequantised`: `bits` + log2 127.5.

        A byte's bin is 1/127.5 wide. (Codes that put byte k at (k + ½)/128 - 1 add log2 128 = 7.)
        """
        return self.bits + math.log2(127.5)


def dequantised(x0: Tensor, seeds: Seeds) -> Tensor:
    """x_0 + u, u uniform on each byte's bin [-1/255, 1/255]: pictures of bytes as a continuous variable.

    On average over u, log p(x_0 + u) + D·log(2/255) is at most the log-probability of the bytes (Theis et al. 2016,
    section 3.1). u is a function of the seed. Shape and type of `x0`; `InputError` for values off the 256 levels.
    """
    u = uniform(check_seeds(seeds, len(check_pictures(x0))), x0.shape[1:], Stream.LIKELIHOOD)
    return ((2 * (levels(x0) + u) - 1) / 255 - 1).to(x0)


def flow_likelihood(
    schedule: NoiseSchedule,
    denoise: Callable[[Tensor, float], Tensor],
    x0: Tensor,
    seeds: Seeds | None = None,
    *,
    steps: int = 100,
    probes: int | None = 1,
    start: float | None = None,
    end: float = 1.0,
) -> FlowLikelihood:
    """log p(x_0), by Runge & Kutta's method of order 4 in w: 4·steps + 1 network calls.

    Args:
        schedule: α(t) and σ(t).
        denoise: (x_t, t) -> x̂0, differentiable in x_t, and of each picture alone (no batch statistics).
        x0: (N, …) any finite numbers. Pictures of bytes must be `dequantised` first, or their density is unbounded.
        seeds: one a picture, or pairs, for the probes.
        steps: of equal length in w; the error falls as their 4th power.
        probes: Hutchinson's estimate of the trace, tr J ≈ vᵀJv, with so many random sign vectors v (Rademacher), the
            same along the whole flow, so that the estimate of log p is unbiased up to the steps. None: the exact
            trace, a backward pass for every value: for small D.
        start: the least noise at which the network is asked; default: 1/T.
        end: where the prior N(0, prior_scale²) stands.

    Raises:
        InputError: for pictures that are not finite, missing seeds, no steps, times that are not 0 < start < end ≤ 1,
            or a denoiser that hides its gradient.
        DivergedError: when the network's output is not finite, naming t.
    """
    first = 1 / schedule.steps if start is None else start
    if not 0 < first < end <= 1:
        raise InputError(f"the flow runs from start to end, 0 < start < end ≤ 1, not from {first} to {end}")
    for name, count in (("steps", steps), ("probes", 1 if probes is None else probes)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{name} are a whole number above 0, not {count!r}")
    vectors = _vectors(check_pictures(x0), seeds, probes)
    w, alphas, times, scales = _grid(schedule, first, end, steps)
    values = x0[0].numel()

    def look(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """x̂0 and tr ∂x̂0/∂x at stage i."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            guess = check_finite(denoise((x * scales[i]).to(x0.dtype), times[i]), x0.shape, times[i])
        return guess.detach(), _trace(guess, x, vectors, probes)

    def slope(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        guess, trace = look(x, i)
        return alphas[i] * x - guess, alphas[i] * values - trace

    # from the data to the first point of the flow: half of what is found there, in x_t/α and in its divergence
    alpha = alphas[0]
    guess, trace = look(alpha * x0, 0)
    x = alpha * (x0 + (x0 - guess) / 2)
    change = (values - alpha * trace) / 2 + values * math.log(alpha)
    for i in range(0, 2 * steps, 2):
        h = float(w[i + 2] - w[i])
        k1, d1 = slope(x, i)
        k2, d2 = slope(x + h / 2 * k1, i + 1)
        k3, d3 = slope(x + h / 2 * k2, i + 1)
        k4, d4 = slope(x + h * k3, i + 2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        change = change + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    x = x * scales[-1]
    prior = schedule.prior_scale(end)
    z = (x.cpu().double() / prior).flatten(1)
    log_prior = -(z**2).sum(1) / 2 - z.shape[1] * math.log(prior * math.sqrt(2 * math.pi) / scales[-1])
    return FlowLikelihood(log_prior + change, x, first, end, 4 * steps + 1)


def _grid(
    schedule: NoiseSchedule, start: float, end: float, steps: int
) -> tuple[np.ndarray, list[float], list[float], list[float]]:
    """w, cos φ, t and √(α² + σ²) at the ends and middles of the steps: 2·steps + 1 each."""
    ends = np.array([start, end])
    low, high = np.log(np.tan(np.arctan2(schedule.sigma(ends), schedule.alpha(ends)) / 2))
    w = np.linspace(low, high, 2 * steps + 1)
    phi = 2 * np.arctan(np.exp(w))
    times = np.clip(schedule.time(-2 * np.log(np.tan(phi[1:-1]))), start, end)
    times = np.concatenate([[start], times, [end]])
    scales = np.hypot(schedule.alpha(times), schedule.sigma(times))
    return w, np.cos(phi).tolist(), times.tolist(), scales.tolist()


def _vectors(x0: Tensor, seeds: Seeds | None, probes: int | None) -> list[Tensor]:
    """What the Jacobian is multiplied with: random signs, or one unit vector for every value."""
    if probes is None:
        basis = torch.eye(x0[0].numel(), dtype=x0.dtype, device=x0.device)
        return [row.reshape(x0.shape[1:]).expand_as(x0) for row in basis]
    if seeds is None:
        raise InputError("random probes need a seed for each picture; for the exact trace say probes=None")
    pairs = check_seeds(seeds, len(x0))
    return [signs(pairs, x0.shape[1:], Stream.LIKELIHOOD, 1 + k).to(x0) for k in range(probes)]


def _trace(output: Tensor, x: Tensor, vectors: list[Tensor], probes: int | None) -> Tensor:
    """tr ∂output/∂x of every picture (N,), float64 on the CPU: Σ eᵀJe, or the mean of vᵀJv (Hutchinson 1990)."""
    total = torch.zeros(len(x), dtype=torch.float64)
    for k, v in enumerate(vectors):
        product = None
        if output.requires_grad:
            (product,) = torch.autograd.grad(output, x, v, retain_graph=k < len(vectors) - 1, allow_unused=True)
        if product is None:
            raise InputError(
                "the flow needs the gradient of denoise in x_t, which is hidden: by torch.no_grad, perhaps"
            )
        total += (product * v).flatten(1).cpu().double().sum(1)
    return total / (probes or 1)
