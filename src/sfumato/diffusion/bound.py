"""How many bits a picture costs: the variational bound of a Gaussian diffusion of T steps, term by term.

    L_T       KL(N(α·x_0, σ²) ‖ prior) at the first of the times                       exact
    L_{T-1} … KL(q(x_s|x_t, x_0) ‖ p(x_s|x_t)), both Gaussian                           one x_t ~ q(x_t|x_0) each
    L_0       -log p(x_0|x_t) by the discretised decoder, at the last step, s = 0       likewise

Ho et al. 2020, eq. 5 to 8 and 13. The means of q and p are a·x_t + b·x_0 and a·x_t + b·x̂0, so a term is

    ½·(v_q/v_p - 1 - log(v_q/v_p) + b²·‖x_0 - x̂0‖²/v_p)     per value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.bits import Bound, check_finite, check_pictures, chosen_terms, falling_times, in_bits
from sfumato.diffusion.decoder import Decoder, check_decoder, decoder_log_prob, levels
from sfumato.diffusion.draws import Seeds, check_seeds
from sfumato.diffusion.forward import noisy, posterior_coefficients, transition
from sfumato.diffusion.reverse import VARIANCES, Variance
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError, nearest
from sfumato.seeds import Stream, noise

__all__ = [
    "GaussianBound",
    "Guess",
    "gaussian_divergence",
    "interpolated_log_variance",
    "prior_bits",
    "variational_bound",
]

Guess = Tensor | tuple[Tensor, Tensor]
"""x̂0 (N, …), and where the variance is learned, log v_p of p(x_s|x_t) with it, of any shape that fits (N, …)."""


@dataclass(frozen=True, eq=False)
class GaussianBound(Bound):
    """The bound of a Gaussian diffusion.

    Attributes:
        squared_errors: (N, n) mean over a picture's values of (x_0 - x̂0)², at times[k] of each chosen term.
        decoder: what L_0 was counted with.
    """

    squared_errors: Tensor
    decoder: Decoder


@torch.no_grad()
def variational_bound(
    schedule: NoiseSchedule,
    denoise: Callable[[Tensor, float], Guess],
    x0: Tensor,
    seeds: Seeds,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    only: Sequence[int] | np.ndarray | None = None,
    variance: Variance | Literal["learned"] = "small",
    decoder: Decoder = "erf",
    decoder_std: float | None = None,
) -> GaussianBound:
    """The bound on -log2 p(x_0) of pictures, in bits per dimension.

    Args:
        schedule: α(t) and σ(t).
        denoise: (x_t, t) -> x̂0, or (x̂0, log v_p) where the variance is learned. It is asked once a term.
        x0: (N, …) pictures on the 256 levels of [-1, 1]; any numbers with decoder="density".
        seeds: one a picture, or pairs. The noise of term k is a function of (seed, k), the same in every batch, and
            whether all terms are evaluated or a few.
        times: where sampling would call the network, falling to 0; default: all T steps. The bound is that of this
            sampler: fewer steps cost bits (Nichol & Dhariwal 2021, section 4).
        only: numbers of the terms to evaluate (0 is the first step from noise); then `total` is an
            estimate, unbiased if every term was equally likely.
        variance: v_p: "small", that of q(x_s|x_t, x_0); "large", σ_ts²; or "learned".
        decoder: "erf" exact, "tanh" as Ho et al. counted, "density" for data without levels.
        decoder_std: σ of the decoder, where it is not learned. Default: √β̃_2, the last standard deviation of
            q(x_s|x_t, x_0) that is not 0, as Ho et al. have it for both variances. Where the data is smooth beside
            ρ = σ_1/α_1, or the steps crowd near t = 0 (EDM), ρ costs fewer bits.

    Raises:
        InputError: for pictures that are not finite or off the levels, seeds not one a picture, times that do not
            fall, an unknown variance or decoder, or an output of another shape.
        DivergedError: when the network's output is not finite, naming t.
    """
    if variance not in (*VARIANCES, "learned"):
        raise InputError(f"no variance {variance!r}. {nearest(variance, (*VARIANCES, 'learned'))}")
    pairs = check_seeds(seeds, len(check_pictures(x0)))
    if check_decoder(decoder) != "density":
        levels(x0)  # before any work
    grid = falling_times(schedule.steps, times)
    chosen = chosen_terms(len(grid) - 1, only)
    std = _decoder_std(schedule, grid) if decoder_std is None else decoder_std
    truth, terms, errors = x0.cpu().double(), [], []
    for k in chosen.tolist():
        t, s = float(grid[k]), float(grid[k + 1])
        xt = noisy(schedule, x0, t, noise(pairs, x0.shape[1:], Stream.LIKELIHOOD, k).to(x0))
        guess, log_variance = _guess(denoise(xt, t), x0, t, variance == "learned")
        if s == 0:
            own = std if log_variance is None or decoder_std is not None else torch.exp(log_variance / 2)
            nats = -decoder_log_prob(x0, guess, own, decoder)
        else:
            nats = _divergence(schedule, (truth - guess) ** 2, s, t, variance, log_variance)
        terms.append(in_bits(nats.expand_as(truth)))
        errors.append(((truth - guess) ** 2).flatten(1).mean(1))
    prior = prior_bits(schedule, truth, float(grid[0]))
    return GaussianBound(grid, chosen, prior, torch.stack(terms, 1), torch.stack(errors, 1), decoder)


def prior_bits(schedule: NoiseSchedule, x0: Tensor, t: float = 1.0) -> Tensor:
    """L_T: KL(q(x_t|x_0) ‖ N(0, prior_scale²)) in bits per dimension (N,). Zero at zero terminal SNR."""
    scale = schedule.prior_scale(t)
    mean = schedule.alpha(t) / scale * x0.cpu().double()
    ratio = 2 * math.log(schedule.sigma(t) / scale)
    return in_bits((math.expm1(ratio) - ratio + mean**2) / 2)


def interpolated_log_variance(
    schedule: NoiseSchedule, s: float, t: float, share: Tensor, before: tuple[float, float] | None = None
) -> Tensor:
    """share·log σ_ts² + (1 - share)·log v, v the variance of q(x_s|x_t, x_0): Nichol & Dhariwal 2021, eq. 15.

    Args:
        schedule, s, t: of the step; s < t.
        share: what a network of learned variance puts out, brought to [0, 1] (theirs puts out 2·share - 1).
        before: (s, t) of the step before, whose v is taken in the last step, s = 0, as they do: there v is 0.

    Raises `InputError` at s = 0 without the step before.
    """
    if not s > 0 and before is None:
        raise InputError("at s = 0 the lower of the two variances is 0 and has no logarithm; name the step before")
    _, _, small = posterior_coefficients(schedule, *((s, t) if s > 0 or before is None else before))
    _, large = transition(schedule, s, t)
    return math.log(small) + (2 * math.log(large) - math.log(small)) * share


def _divergence(
    schedule: NoiseSchedule, squared: Tensor, s: float, t: float, variance: str, log_variance: Tensor | None
) -> Tensor:
    """KL(q(x_s|x_t, x_0) ‖ p(x_s|x_t)) of every value, from (x_0 - x̂0)², in nats."""
    _, b, v = posterior_coefficients(schedule, s, t)
    own = math.log(v)
    if log_variance is None:
        fixed = own if variance == "small" else 2 * math.log(transition(schedule, s, t)[1])
        log_variance = torch.tensor(fixed, dtype=torch.float64)
    return gaussian_divergence(own, log_variance, b**2 * squared)


def gaussian_divergence(log_q: float | Tensor, log_p: Tensor, squared: Tensor) -> Tensor:
    """KL(N(·, exp(log_q)) ‖ N(·, exp(log_p))) of every value, in nats, where the means' distance is √`squared`."""
    gap = log_q - log_p
    return (torch.expm1(gap) - gap + squared * torch.exp(-log_p)) / 2


def _decoder_std(schedule: NoiseSchedule, grid: np.ndarray) -> float:
    """√(β̃_2) of Ho et al.: the last standard deviation of q(x_s|x_t, x_0) that is not 0; with one step, σ itself."""
    if len(grid) == 2:
        return schedule.sigma(float(grid[0]))
    return math.sqrt(posterior_coefficients(schedule, float(grid[-2]), float(grid[-3]))[2])


def _guess(output: Guess, x0: Tensor, t: float, learned: bool) -> tuple[Tensor, Tensor | None]:
    """x̂0 and log v_p in float64 on the CPU (where every device can go)."""
    if learned != isinstance(output, tuple):
        raise InputError("a learned variance, and only that, needs denoise to return the pair (x̂0, log variance)")
    if isinstance(output, Tensor):
        return check_finite(output, x0.shape, t).cpu().double(), None
    guess, log_variance = output
    try:
        fits = torch.broadcast_shapes(log_variance.shape, x0.shape) == x0.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise InputError(f"a log variance of {tuple(log_variance.shape)} does not fit {tuple(x0.shape)}")
    check_finite(log_variance, log_variance.shape, t)
    return check_finite(guess, x0.shape, t).cpu().double(), log_variance.cpu().double().expand_as(x0)
