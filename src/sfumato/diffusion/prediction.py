"""What a network predicts, and how each prediction gives the others. All are the same knowledge about (x_t, t):

eps   the noise ε                    x̂0 = (x_t - σ·ε)/α                    Ho et al. 2020
x0    the picture
v     α·ε - σ·x_0                    x̂0 = (α·x_t - σ·v)/(α² + σ²)          Salimans & Ho 2022
F     (σ/σ_d·x_0 - α·σ_d·ε)/n        x̂0 = (α·σ_d²/n²)·x_t + (σ·σ_d/n)·F    Karras et al. 2022, table 1, "Ours"

with n² = σ² + α²·σ_d², the variance of x_t for data of standard deviation σ_d. In EDM's terms, with σ̃ = σ/α and the
network's input x_t/n: c_skip = σ_d²/(σ̃² + σ_d²), c_out = σ̃·σ_d/√(σ̃² + σ_d²), c_in = 1/√(σ̃² + σ_d²), all three on x_t/α.
Where variance is preserved and σ_d = 1, F is -v.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.errors import InputError, nearest

__all__ = [
    "PREDICTIONS",
    "SIGMA_DATA",
    "Prediction",
    "check_prediction",
    "from_x0",
    "to_eps",
    "to_x0",
    "x0_weight_factor",
]

Prediction = Literal["eps", "x0", "v", "F"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)

SIGMA_DATA = 0.5  # of pictures in [-1, 1], as EDM has it

Scale = float | Tensor


def check_prediction(name: str) -> Prediction:
    """Return `name`; raise `InputError` with the nearest name when it is none of eps, x0, v, F."""
    if name not in PREDICTIONS:
        raise InputError(f"no prediction {name!r}. {nearest(name, PREDICTIONS)}")
    return name


def to_x0(
    prediction: Prediction, output: Tensor, xt: Tensor, alpha: Scale, sigma: Scale, sigma_data: float = SIGMA_DATA
) -> Tensor:
    """x̂0 from a network's output at x_t = α·x_0 + σ·ε. With α = 0, `eps` says nothing about x_0: divides by zero."""
    if prediction == "x0":
        return output
    if prediction == "eps":
        return (xt - sigma * output) / alpha
    if prediction == "F":
        square = sigma**2 + (alpha * sigma_data) ** 2
        return (alpha * sigma_data**2 / square) * xt + (sigma * sigma_data / square**0.5) * output
    square = alpha**2 + sigma**2
    return (alpha / square) * xt - (sigma / square**0.5) * output


def from_x0(
    prediction: Prediction, x0: Tensor, eps: Tensor, alpha: Scale, sigma: Scale, sigma_data: float = SIGMA_DATA
) -> Tensor:
    """The network's target for the picture x_0 and the noise ε."""
    if prediction == "x0":
        return x0
    if prediction == "eps":
        return eps
    if prediction == "F":
        norm = (sigma**2 + (alpha * sigma_data) ** 2) ** 0.5
        return (sigma / sigma_data / norm) * x0 - (alpha * sigma_data / norm) * eps
    return (alpha * eps - sigma * x0) / (alpha**2 + sigma**2) ** 0.5


def to_eps(x0: Tensor, xt: Tensor, alpha: Scale, sigma: Scale) -> Tensor:
    """ε̂ = (x_t - α·x̂0)/σ. Undefined at t = 0, where σ = 0."""
    return (xt - alpha * x0) / sigma


def x0_weight_factor(prediction: Prediction, log_snr: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """How much larger the squared error of the output is than that of x̂0.

    SNR for eps, 1 for x0, SNR + 1 for v, SNR + 1/σ_d² = 1/c_out² for F.
    """
    if prediction == "x0":
        return torch.ones_like(log_snr)
    if prediction == "F":
        return torch.exp(log_snr) + sigma_data**-2
    return torch.exp(log_snr) + (prediction == "v")
