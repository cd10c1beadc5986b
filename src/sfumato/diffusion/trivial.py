"""The trivial predictor: the best that can be told of x_0 from x_t by who has learned but two numbers of the data.

It knows the mean picture μ and one variance v for all values around it, and takes each value by itself:

    x̂0 = μ + α·v/(α²·v + σ²)·(x_t - α·μ),   E(x_0 - x̂0)² = v·σ²/(α²·v + σ²).

That is the line of least squares through (x_t - α·μ, x_0 - μ), whatever the data's law. A network that does worse would
do better to say nothing of its own.
"""

from __future__ import annotations

from torch import Tensor

from sfumato.diffusion.loss import Weighting, output_weight
from sfumato.diffusion.prediction import SIGMA_DATA, Prediction, x0_weight_factor
from sfumato.diffusion.schedule import NoiseSchedule

__all__ = ["trivial_error", "trivial_loss"]


def trivial_error(schedule: NoiseSchedule, t: Tensor, variance: float, noise_variance: float = 1.0) -> Tensor:
    """Its expected squared error of a value of x̂0 at times t (N,), float64.

    Args:
        schedule, t: of the noise.
        variance: v, of a value around the mean picture.
        noise_variance: of a value of the noise, 1 unless something was added to it.
    """
    t = t.double()
    noise = schedule.sigma(t) ** 2 * noise_variance
    return variance * noise / (schedule.alpha(t) ** 2 * variance + noise)


def trivial_loss(
    weighting: Weighting,
    prediction: Prediction,
    schedule: NoiseSchedule,
    t: Tensor,
    variance: float,
    *,
    noise_variance: float = 1.0,
    sigma_data: float = SIGMA_DATA,
) -> Tensor:
    """Its expected loss (N,) at times t (N,), float64, by a weighting, for a network of this prediction.

    Which prediction it is matters to "simple" alone; the others weigh the error of x̂0. Arguments as in `trivial_error`
    and `loss.output_weight`.
    """
    weight = output_weight(weighting, prediction, schedule, t, sigma_data=sigma_data)
    factor = x0_weight_factor(prediction, schedule.log_snr(t.double()), sigma_data)
    return weight * factor * trivial_error(schedule, t, variance, noise_variance)
