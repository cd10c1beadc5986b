"""The reverse process p: noise → data. One step of it, with the network's x̂0 in the place of the unknown x_0.

    p(x_s | x_t) = N(mean of q(x_s | x_t, x̂0), variance),  s < t          Ho et al. 2020, eq. 1 and section 3.2

The variance is not learned here: "small" is that of q(x_s | x_t, x_0), right when the data is a single point; "large"
is σ_ts² of q(x_t | x_s), right when the data is N(0, I). The truth lies between.
"""

from __future__ import annotations

from typing import Literal, get_args

from sfumato.diffusion.forward import Time, posterior_coefficients, transition
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError, nearest

__all__ = ["VARIANCES", "Variance", "reverse_coefficients"]

Variance = Literal["small", "large"]
VARIANCES: tuple[Variance, ...] = get_args(Variance)


def reverse_coefficients(
    schedule: NoiseSchedule, s: Time, t: Time, variance: Variance = "small"
) -> tuple[Time, Time, Time]:
    """(a, b, v) of p(x_s | x_t) = N(a·x_t + b·x̂0, v), for s < t.

    At s = 0 the variance is 0 for both choices: the last step lands on x̂0, as in Ho et al. 2020, algorithm 2.
    """
    if variance not in VARIANCES:
        raise InputError(f"no variance {variance!r}. {nearest(variance, VARIANCES)}")
    a, b, small = posterior_coefficients(schedule, s, t)
    if variance == "small":
        return a, b, small
    _, sigma_ts = transition(schedule, s, t)
    return a, b, sigma_ts**2 * (schedule.sigma(s) > 0)
