"""`Diffusion`: a schedule and what the network predicts. The mathematics of the neighbouring files, tied together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.diffusion import forward
from sfumato.diffusion.forward import Time, broadcast
from sfumato.diffusion.loss import Weighting, output_weight
from sfumato.diffusion.prediction import SIGMA_DATA, Prediction, check_prediction, from_x0, to_x0
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError

__all__ = ["Diffusion"]

MOST_C_NOISE = 2.5  # what stands for pure noise, where σ/α is infinite: σ/α = e¹⁰


@dataclass(frozen=True)
class Diffusion:
    """A noise schedule and a kind of prediction.

    Args:
        schedule: α(t) and σ(t).
        prediction: what the network puts out: "eps", "x0", "v" or "F" (EDM's).
        sigma_data: standard deviation of the data, which "F" and the weighting "edm" know.

    Raises:
        InputError: for an unknown prediction, a sigma_data that is not positive, and for "eps" on a schedule with zero
            terminal SNR, where x_1 is all noise and knowing the noise says nothing about the picture.
    """

    schedule: NoiseSchedule
    prediction: Prediction = "v"
    sigma_data: float = SIGMA_DATA

    def __post_init__(self) -> None:
        check_prediction(self.prediction)
        if not 0 < self.sigma_data < math.inf:
            raise InputError(f"sigma_data, the data's standard deviation, is a number above 0, not {self.sigma_data}")
        if self.prediction == "eps" and self.schedule.terminal_snr == 0:
            raise InputError("at zero terminal SNR an eps prediction says nothing about the picture; use 'v' or 'x0'")

    def noisy(self, x0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """A draw of q(x_t | x_0): α_t·x_0 + σ_t·noise. `t`: one time, or one a picture (N,)."""
        return forward.noisy(self.schedule, x0, t, noise)

    def posterior(self, x0: Tensor, xt: Tensor, t: Time, s: Time) -> tuple[Tensor, float | Tensor]:
        """Mean and variance of q(x_s | x_t, x_0), s < t (Ho et al. 2020, eq. 6 and 7)."""
        return forward.posterior(self.schedule, x0, xt, t, s)

    def denoised(self, output: Tensor, xt: Tensor, t: Time) -> Tensor:
        """x̂0 from the network's output at (x_t, t)."""
        alpha, sigma = broadcast(self.schedule.alpha(t), xt), broadcast(self.schedule.sigma(t), xt)
        return to_x0(self.prediction, output, xt, alpha, sigma, self.sigma_data)

    def network_input(self, xt: Tensor, t: Time) -> Tensor:
        """What the network is given of x_t, of variance 1 at every t.

        x_t/√(α² + σ²), the same x_t where variance is preserved; for "F", x_t/√(σ² + α²·σ_data²), EDM's c_in.
        """
        return forward.network_input(self.schedule, xt, t, self.sigma_data if self.prediction == "F" else 1.0)

    def network_time(self, t: Time) -> Time:
        """What the network is told of t: t itself; for "F", EDM's c_noise = ¼·log(σ/α), that of 1/T below 1/T."""
        if self.prediction != "F":
            return t
        least, most = -8 * MOST_C_NOISE, float(self.schedule.log_snr_knots[0])
        if isinstance(t, Tensor):
            return -torch.clamp(self.schedule.log_snr(t), least, most) / 8
        return -min(max(self.schedule.log_snr(t), least), most) / 8

    def target(self, x0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """What the network should put out for this picture and this noise."""
        alpha, sigma = broadcast(self.schedule.alpha(t), x0), broadcast(self.schedule.sigma(t), x0)
        return from_x0(self.prediction, x0, noise, alpha, sigma, self.sigma_data)

    def loss(
        self, output: Tensor, x0: Tensor, t: Tensor, noise: Tensor, weighting: Weighting = "simple", **options: float
    ) -> Tensor:
        """Weighted squared error of each picture, averaged over its values: (N,). Options as in `loss.x0_weight`."""
        if output.shape != x0.shape:
            raise InputError(f"the network put out {tuple(output.shape)} for pictures of {tuple(x0.shape)}")
        error = (output - self.target(x0, t, noise)).square().flatten(1).mean(1)
        options = {"sigma_data": self.sigma_data, **options}
        return output_weight(weighting, self.prediction, self.schedule, t, **options).to(error) * error
