"""Progressive coding: what a receiver who has got so many bits can see (Ho et al. 2020, section 4.3).

The sender tells x_T, then x_{T-1} … x_0, each for the bits of its term of the bound; after each the receiver's best
picture is x̂0. Early bits draw the whole, the last ones go into what nobody sees.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.bound import GaussianBound
from sfumato.errors import InputError

__all__ = ["RateDistortion", "rate_distortion"]


class RateDistortion(NamedTuple):
    """What is known of N pictures when x_t has arrived, for every t of the steps."""

    times: np.ndarray  # (T+1,) falling to 0
    rate: Tensor  # (N, T+1) bits per dimension received so far, float64
    rmse: Tensor  # (N, T+1) of x̂0, on the scale of bytes, 0 to 255


def rate_distortion(bound: GaussianBound) -> RateDistortion:
    """The points of the curve of Ho et al. 2020, figure 5, from the terms of a complete bound.

    Point k is the moment when x_t, t = times[k], has arrived: the first has cost L_T, the last, x_0, all of the bound,
    and its error is 0. Each x_t is its own draw of q(x_t|x_0), so a curve is one message's only on average.

    Raises `InputError` for a bound of few terms, or with decoder="density", where x_0 never arrives exactly.
    """
    if not bound.complete or bound.decoder == "density":
        raise InputError("a rate-distortion curve needs every term of the bound, and pictures of bytes (decoder 'erf')")
    order = torch.from_numpy(np.argsort(bound.chosen))
    steps = torch.cat([bound.prior[:, None], bound.terms[:, order]], 1)
    rmse = 127.5 * bound.squared_errors[:, order].sqrt()
    return RateDistortion(bound.times, steps.cumsum(1), torch.cat([rmse, torch.zeros_like(rmse[:, :1])], 1))
