"""A learned variance: what a network says of that of p(x_s|x_t), and the terms of the bound that teach it.

Nichol & Dhariwal 2021, section 3.1. Behind its prediction, a network of twice the channels puts out a number for each
value of the picture: the logarithm of the variance itself ("free"), or where it lies between the two that are known to
bound it ("interpolated", eq. 15), from -1 for that of q(x_s|x_t, x_0) to 1 for that of q(x_t|x_s).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.diffusion.bits import in_bits
from sfumato.diffusion.bound import gaussian_divergence, interpolated_log_variance
from sfumato.diffusion.decoder import Decoder, decoder_log_prob
from sfumato.diffusion.forward import broadcast, posterior_coefficients
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError, nearest

__all__ = ["LEARNED", "LearnedVariance", "bound_terms", "check_learned", "log_variance"]

LearnedVariance = Literal["free", "interpolated"]
LEARNED: tuple[LearnedVariance, ...] = get_args(LearnedVariance)


def check_learned(kind: str, schedule: NoiseSchedule) -> LearnedVariance:
    """Return `kind`; raise `InputError` with the nearest when it is unknown, or when the schedule has but one step."""
    if kind not in LEARNED:
        raise InputError(f"no learned variance {kind!r}. {nearest(kind, LEARNED)}")
    if schedule.steps < 2:
        raise InputError("a schedule of one step has no variance to learn")
    return kind


def log_variance(
    kind: LearnedVariance,
    schedule: NoiseSchedule,
    raw: Tensor,
    s: float,
    t: float,
    before: tuple[float, float] | None = None,
) -> Tensor:
    """log v_p of p(x_s|x_t) from what the network put out at t.

    Args:
        kind: how it is meant. A "free" one is that of the steps it was trained on, s = t - 1/T, and of no others.
        schedule, s, t: of the step.
        raw: (N, …) the further channels.
        before: for s = 0, see `interpolated_log_variance`.
    """
    return raw if kind == "free" else interpolated_log_variance(schedule, s, t, (raw + 1) / 2, before)


def bound_terms(
    kind: LearnedVariance,
    schedule: NoiseSchedule,
    x0: Tensor,
    guess: Tensor,
    raw: Tensor,
    t: Tensor,
    decoder: Decoder = "erf",
) -> Tensor:
    """The term of the bound (`bound`) at each picture's own step, in bits per dimension: (N,), differentiable.

    T times its mean over t ∈ {1/T … 1} is the bound without its constant L_T.

    Args:
        kind, schedule, raw: as in `log_variance`.
        x0: (N, …) pictures; on the 256 levels of [-1, 1] but for decoder="density".
        guess: (N, …) x̂0 at x_t. Detached, only the variance learns from it (the paper's L_hybrid).
        t: (N,) steps of the schedule.
        decoder: of the last step, s = 0; its width is the learned variance too.
    """
    steps = [round(float(time) * schedule.steps) for time in t]
    facts = torch.tensor([_facts(schedule, i) for i in steps], dtype=x0.dtype, device=x0.device)
    low, high, b = (broadcast(column, x0) for column in facts.unbind(1))
    log_p = raw if kind == "free" else low + (high - low) * (raw + 1) / 2
    nats = gaussian_divergence(low, log_p, b**2 * (x0 - guess) ** 2)
    last = torch.tensor([i == 1 for i in steps])
    if last.any():
        there = last.to(x0.device)
        told = decoder_log_prob(x0[there], guess[there], torch.exp(log_p[there] / 2), decoder)
        nats = nats.index_put((there,), -told.to(nats))
    return in_bits(nats)


@lru_cache(maxsize=8192)
def _facts(schedule: NoiseSchedule, i: int) -> tuple[float, float, float]:
    """Of step i = 1 … T: the logarithms that "interpolated" lies between, the lower that of q(x_s|x_t, x_0); and b."""
    s, t, before = (i - 1) / schedule.steps, i / schedule.steps, (1 / schedule.steps, 2 / schedule.steps)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    low, high = interpolated_log_variance(schedule, s, t, ends, before).tolist()
    return low, high, float(posterior_coefficients(schedule, s, t)[1])
