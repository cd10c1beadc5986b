"""What a network predicts, and how each prediction gives the others. All are the same knowledge about (x_t, t):

eps   the noise ε                    x̂0 = (x_t - σ·ε)/α                    Ho et al. 2020
x0    the picture
v     α·ε - σ·x_0                    x̂0 = (α·x_t - σ·v)/(α² + σ²)          Salimans & Ho 2022
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.errors import InputError, nearest

__all__ = ["PREDICTIONS", "Prediction", "check_prediction", "from_x0", "to_eps", "to_x0", "x0_weight_factor"]

Prediction = Literal["eps", "x0", "v"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)

Scale = float | Tensor


def check_prediction(name: str) -> Prediction:
    """Return `name`; raise `InputError` with the nearest name when it is none of eps, x0, v."""
    if name not in PREDICTIONS:
        raise InputError(f"no prediction {name!r}. {nearest(name, PREDICTIONS)}")
    return name


def to_x0(prediction: Prediction, output: Tensor, xt: Tensor, alpha: Scale, sigma: Scale) -> Tensor:
    """x̂0 from a network's output at x_t = α·x_0 + σ·ε. With α = 0, `eps` says nothing about x_0: divides by zero."""
    if prediction == "x0":
        return output
    if prediction == "eps":
        return (xt - sigma * output) / alpha
    square = alpha**2 + sigma**2
    return (alpha / square) * xt - (sigma / square**0.5) * output


def from_x0(prediction: Prediction, x0: Tensor, eps: Tensor, alpha: Scale, sigma: Scale) -> Tensor:
    """The network's target for the picture x_0 and the noise ε."""
    if prediction == "x0":
        return x0
    if prediction == "eps":
        return eps
    return (alpha * eps - sigma * x0) / (alpha**2 + sigma**2) ** 0.5


def to_eps(x0: Tensor, xt: Tensor, alpha: Scale, sigma: Scale) -> Tensor:
    """ε̂ = (x_t - α·x̂0)/σ. Undefined at t = 0, where σ = 0."""
    return (xt - alpha * x0) / sigma


def x0_weight_factor(prediction: Prediction, log_snr: Tensor) -> Tensor:
    """How much larger the squared error of the output is than that of x̂0: SNR for eps, 1 for x0, SNR + 1 for v."""
    if prediction == "x0":
        return torch.ones_like(log_snr)
    return torch.exp(log_snr) + (prediction == "v")
