"""`Diffusion`: a schedule and what the network predicts. The mathematics of the neighbouring files, tied together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sfumato.diffusion import forward
from sfumato.diffusion.forward import Time, broadcast
from sfumato.diffusion.loss import Weighting, output_weight
from sfumato.diffusion.prediction import Prediction, check_prediction, from_x0, to_x0
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError

__all__ = ["Diffusion"]


@dataclass(frozen=True)
class Diffusion:
    """A noise schedule and a kind of prediction.

    Args:
        schedule: α(t) and σ(t).
        prediction: what the network puts out: "eps", "x0" or "v".

    Raises:
        InputError: for an unknown prediction, and for "eps" on a schedule with zero terminal SNR, where x_1 is all
            noise and knowing the noise says nothing about the picture.
    """

    schedule: NoiseSchedule
    prediction: Prediction = "v"

    def __post_init__(self) -> None:
        check_prediction(self.prediction)
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
        return to_x0(self.prediction, output, xt, alpha, sigma)

    def network_input(self, xt: Tensor, t: Time) -> Tensor:
        """x_t/√(α² + σ²), of the spread that a network expects. The same x_t where variance is preserved."""
        return forward.network_input(self.schedule, xt, t)

    def target(self, x0: Tensor, t: Time, noise: Tensor) -> Tensor:
        """What the network should put out for this picture and this noise."""
        alpha, sigma = broadcast(self.schedule.alpha(t), x0), broadcast(self.schedule.sigma(t), x0)
        return from_x0(self.prediction, x0, noise, alpha, sigma)

    def loss(
        self, output: Tensor, x0: Tensor, t: Tensor, noise: Tensor, weighting: Weighting = "simple", **options: float
    ) -> Tensor:
        """Weighted squared error of each picture, averaged over its values: (N,). Options as in `loss.x0_weight`."""
        if output.shape != x0.shape:
            raise InputError(f"the network put out {tuple(output.shape)} for pictures of {tuple(x0.shape)}")
        error = (output - self.target(x0, t, noise)).square().flatten(1).mean(1)
        return output_weight(weighting, self.prediction, self.schedule, t, **options).to(error) * error
