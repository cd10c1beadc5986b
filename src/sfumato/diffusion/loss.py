"""What training minimises: a weighted squared error. Every weighting is a function w(λ) on the error of x̂0,

    loss = w(λ_t)·‖x_0 - x̂0‖²,

so it means the same for every prediction: an eps, x0, v or F network with one weighting minimises one and the same
loss.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.diffusion.prediction import SIGMA_DATA, Prediction, x0_weight_factor
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError, nearest

__all__ = ["WEIGHTINGS", "Weighting", "check_weighting", "output_weight", "vlb_weight", "x0_weight"]

Weighting = Literal["simple", "eps", "x0", "v", "min-snr", "soft-min-snr", "p2", "edm", "vlb"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)


def check_weighting(name: str) -> Weighting:
    """Return `name`; raise `InputError` with the nearest name when it is unknown."""
    if name not in WEIGHTINGS:
        raise InputError(f"no loss weighting {name!r}. {nearest(name, WEIGHTINGS)}")
    return name


def x0_weight(
    weighting: Weighting,
    schedule: NoiseSchedule,
    t: Tensor,
    *,
    gamma: float = 5.0,
    sigma_data: float = SIGMA_DATA,
    p2_k: float = 1.0,
    p2_gamma: float = 1.0,
) -> Tensor:
    """w(λ_t) on ‖x_0 - x̂0‖², for every weighting but "simple" (which depends on the prediction). Shape of `t`, float64.

    eps: SNR (Ho et al. 2020, L_simple) · x0: 1 · v: SNR + 1 (Salimans & Ho 2022) ·
    min-snr: min(SNR, γ) (Hang et al. 2023) · soft-min-snr: SNR·γ/(SNR + γ) (Crowson et al. 2024) ·
    p2: SNR/(k + SNR)^γ (Choi et al. 2022) · edm: (σ̃² + σ_data²)/(σ̃·σ_data)² with σ̃ = σ/α (Karras et al. 2022) ·
    vlb: T/2·(SNR(t - 1/T) - SNR(t)) (Kingma et al. 2021, eq. 13), the term of the variational bound at t.
    """
    t = t.double()
    log_snr = schedule.log_snr(t)
    snr = torch.exp(log_snr)
    if weighting == "eps":
        return snr
    if weighting == "x0":
        return torch.ones_like(snr)
    if weighting == "v":
        return snr + 1
    if weighting == "min-snr":
        return snr.clamp(max=gamma)
    if weighting == "soft-min-snr":
        return snr * gamma / (snr + gamma)
    if weighting == "p2":
        return snr / (p2_k + snr) ** p2_gamma
    if weighting == "edm":
        return snr + sigma_data**-2
    if weighting == "vlb":
        return vlb_weight(schedule, t)
    raise InputError(f"no loss weighting {weighting!r} on x0. {nearest(weighting, WEIGHTINGS)}")


def vlb_weight(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    """T/2·(SNR(s) - SNR(t)) with s = t - 1/T: T times KL(q(x_s|x_t,x_0) ‖ p(x_s|x_t)) per squared error of x̂0.

    Kingma et al. 2021, eq. 13 to 15. The first step (t = 1/T) has no such term: its share of the bound is the
    likelihood of the pixels, log p(x_0|x_1); it is given the squared-error weight of that Gaussian, ½·SNR(t)·T.
    """
    t = t.double()
    s = t - 1 / schedule.steps
    snr = torch.exp(schedule.log_snr(t))
    first = s < 0.5 / schedule.steps
    earlier = torch.exp(schedule.log_snr(torch.where(first, t, s)))
    return schedule.steps / 2 * torch.where(first, snr, earlier - snr)


def output_weight(
    weighting: Weighting,
    prediction: Prediction,
    schedule: NoiseSchedule,
    t: Tensor,
    *,
    sigma_data: float = SIGMA_DATA,
    **options: float,
) -> Tensor:
    """The same weight, on the squared error of the network's own output. "simple" is 1 for every prediction."""
    check_weighting(weighting)
    if weighting in ("simple", prediction):
        return torch.ones_like(t, dtype=torch.float64)
    t = t.double()
    weight = x0_weight(weighting, schedule, t, sigma_data=sigma_data, **options)
    return weight / x0_weight_factor(prediction, schedule.log_snr(t), sigma_data)
