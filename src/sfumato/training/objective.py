"""The objective: from a batch and the network to a loss for each picture. The loop knows nothing more of it.

What may be combined: any prediction and weighting; times of four kinds (`times`, `importance`); a learned variance with
its share of the variational bound (`diffusion.learned`); self-conditioning; learned uncertainty (`uncertainty`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.diffusion.learned import LearnedVariance, bound_terms, check_learned
from sfumato.diffusion.loss import Weighting, check_weighting
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.networks.condition import Condition
from sfumato.training.batches import Batch
from sfumato.training.config import TrainConfig
from sfumato.training.importance import Importance
from sfumato.training.times import continuous, log_normal, on_steps
from sfumato.training.uncertainty import Uncertainty

__all__ = ["Heard", "Objective", "Predict"]

LAMBDA = 0.001  # of the bound beside the squared error (Nichol & Dhariwal 2021, section 3.1)

Predict = Callable[[Tensor, Tensor, Condition], Tensor]
"""(network's input (N, C, H, W), time (N,), condition) -> output (N, C', H, W) float32"""


class Heard(NamedTuple):
    """What there was to lose on the pictures of one call, each (N,), without gradients."""

    t: Tensor  # float64, on the CPU
    losses: Tensor  # before their weights by importance and by learned uncertainty
    squared: Tensor  # the weighted squared error in them
    v_error: Tensor  # the squared error of v: the same thing for all predictions and weightings


class Objective(nn.Module):
    """What a run minimises. Its parameters learn with the network's; its state belongs into every checkpoint.

    Args:
        config: of the run.
        diffusion: schedule and prediction.
        device: where the network is.

    Attributes:
        in_step: predict as often for every batch, though there be nothing to guess: under FSDP, ranks need one another
            for it.

    Raises:
        InputError: for a weighting that does not exist, or that does not go with the times or the variance.
    """

    def __init__(self, config: TrainConfig, diffusion: Diffusion, device: torch.device) -> None:
        super().__init__()
        asked, steps = config.objective, diffusion.schedule.steps
        self.diffusion, self.device = diffusion, device
        self.weighting: Weighting = check_weighting(config.weighting)
        if self.weighting == "vlb" and asked.times in ("continuous", "log-normal"):
            raise InputError(f"the weighting vlb is that of the schedule's steps, not of {asked.times} times")
        self.variance: LearnedVariance | None = None
        if asked.variance != "fixed":
            self.variance = check_learned(asked.variance, diffusion.schedule)
        self.pixels = config.autoencoder is None
        self.self_conditioning = asked.self_conditioning
        self.importance = Importance(steps) if asked.times == "importance" else None
        self.uncertainty = Uncertainty(config.seed).to(device) if asked.uncertainty else None
        self._times = {
            "steps": lambda fraction: on_steps(fraction, steps),
            "continuous": lambda fraction: continuous(fraction, steps),
            "log-normal": lambda fraction: log_normal(fraction, diffusion.schedule, *asked.log_normal),
        }.get(asked.times)
        self.in_step = False
        self._heard: list[Heard] = []

    def forward(self, predict: Predict, batch: Batch, condition: Condition, count: int | None = None) -> Tensor:
        """The loss of each of the first `count` pictures, by default of all (N,), whose mean is to be made small.

        The others are predicted and count nothing: so does a rank that has run out of pictures.
        """
        t, weights = self.times(batch.fraction)
        x0, noise = batch.x0.to(self.device), batch.noise.to(self.device)
        xt = self.diffusion.noisy(x0, t, noise)
        given, told = self.diffusion.network_input(xt, t), torch.as_tensor(self.diffusion.network_time(t))
        if self.self_conditioning:
            condition = self._with_guess(predict, batch, xt, given, told, t, condition)
        output = predict(given, told, condition)
        losses = self._compared(output, x0, xt, t, noise)
        self._hear(output[:count], x0[:count], t[:count], noise[:count], losses[:count])
        if self.uncertainty is not None:
            u = self.uncertainty(self.diffusion.schedule.log_snr(t))
            losses = losses / torch.exp(u) + u
        return (losses if weights is None else losses * weights.to(losses))[:count]

    def times(self, fraction: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Times (N,) for fractions (N,), see `batches`, and what their losses count; None: all alike."""
        if self._times is not None:
            return self._times(fraction), None
        assert self.importance is not None
        return self.importance.draw(fraction)

    def settle(self, rows: Callable[[Tensor], Tensor] = lambda mine: mine) -> list[Heard]:
        """After each step of the optimizer: learn what its losses say of the times to draw next. Returns them.

        `rows` makes of what was heard here what was heard on all ranks, in the order of the pictures.
        """
        heard, self._heard = self._heard, []
        if self.importance is not None and heard:
            mine = [torch.stack([part.t, part.losses.cpu().double()], dim=1) for part in heard]
            t, losses = rows(torch.cat(mine)).unbind(1)
            self.importance.learn(t, losses)
        return heard

    @torch.no_grad()
    def _hear(self, output: Tensor, x0: Tensor, t: Tensor, noise: Tensor, losses: Tensor) -> None:
        mean, losses = output[:, : x0.shape[1]], losses.detach()
        squared = losses if self.variance is None else self.diffusion.loss(mean, x0, t, noise, self.weighting)
        self._heard.append(Heard(t, losses, squared, self.diffusion.loss(mean, x0, t, noise, "v")))

    def _compared(self, output: Tensor, x0: Tensor, xt: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The network's output against the truth."""
        diffusion = self.diffusion
        if self.variance is None:
            return diffusion.loss(output, x0, t, noise, self.weighting)
        if output.shape[1] != 2 * x0.shape[1]:
            raise InputError(f"a learned variance doubles the channels; the network put out {tuple(output.shape)}")
        output, raw = output.chunk(2, dim=1)
        guess, whole = diffusion.denoised(output, xt, t), self.weighting == "vlb"
        seen, decoder = guess if whole else guess.detach(), "erf" if self.pixels else "density"
        terms = diffusion.schedule.steps * bound_terms(self.variance, diffusion.schedule, x0, seen, raw, t, decoder)
        return terms if whole else diffusion.loss(output, x0, t, noise, self.weighting) + LAMBDA * terms

    def _with_guess(
        self, predict: Predict, batch: Batch, xt: Tensor, given: Tensor, told: Tensor, t: Tensor, condition: Condition
    ) -> Condition:
        """The condition with a guess of x_0 for half of the pictures, and zeros for the others.

        Chen, Zhang & Hinton 2022, algorithm 1; the guess is made without gradients, from zeros.
        """
        none = replace(condition, pictures=torch.zeros_like(xt))
        rows = torch.from_numpy(batch.guessed).to(self.device)
        if not batch.guessed.any():
            if self.in_step:
                with torch.no_grad():
                    predict(given[:1], told[:1], none[:1])
            return none
        with torch.no_grad():
            output = predict(given[rows], told[batch.guessed], none[rows])
            guess = self.diffusion.denoised(output[:, : xt.shape[1]], xt[rows], t[batch.guessed])
            guess = guess.clamp(-1, 1) if self.pixels else guess  # as sampling does
        return replace(condition, pictures=torch.zeros_like(xt).index_put((rows,), guess))
