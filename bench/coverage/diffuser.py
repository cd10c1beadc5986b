"""Sfumato's diffusion as a contestant: v-prediction, cosine schedule of zero terminal SNR, its default solver."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from bench.coverage.networks import count
from bench.coverage.player import Averaged, Parameters, Ways, normal
from torch import Tensor, nn

from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.process import Diffusion
from sfumato.guidance.thresholding import clipped
from sfumato.models.spec import SamplingDefaults
from sfumato.seeds import Stream, generator
from sfumato.solvers import get, solve

__all__ = ["Diffuser", "DiffuserRecipe", "times"]

STEPS = (20, 50)  # of the solver
SPACING = "log-snr"  # as in every model that `sfumato train` makes
AT_ONCE = 500
CLIP = 1.0


@dataclass(frozen=True)
class DiffuserRecipe:
    """How a denoiser learns: lr and betas of Adam, pictures a step, and whether x̂0 is held within [-1, 1]."""

    lr: float
    batch: int
    clipped: bool
    betas: tuple[float, float] = (0.9, 0.99)


class Diffuser:
    """See `player.Player`. `network(x, t)` puts out v, `shape` is that of a sample."""

    def __init__(self, network: nn.Module, recipe: DiffuserRecipe, shape: tuple[int, ...], seed: int) -> None:
        self.network, self.recipe, self.shape, self.seed = network, recipe, shape, seed
        self.batch = recipe.batch
        self.parameters: Parameters = {"denoiser": count(network)}
        self.ways: Ways = {f"{steps} steps": partial(self.sample, steps=steps) for steps in STEPS}
        self.diffusion = Diffusion(ScheduleConfig().build(), "v")
        self._average = Averaged(network)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=recipe.betas, fused=True)

    def step(self, real: Tensor, number: int) -> dict[str, Tensor]:
        noise = normal(self.seed, number, Stream.TRAIN_NOISE, tuple(real.shape))
        t = times(self.seed, number, len(real), self.diffusion.schedule.steps)
        output = self.network(self.diffusion.noisy(real, t, noise), t)
        loss = self.diffusion.loss(output, real, t, noise).mean()
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self._optimizer.step()
        self._average.update(len(real), (number + 1) * len(real))
        return {"denoiser": loss.detach()}

    @torch.no_grad()
    def sample(self, seed: int, count: int, steps: int) -> Tensor:
        """Samples of the averaged denoiser."""
        network, schedule = self._average.now(), self.diffusion.schedule
        table = get(SamplingDefaults.solver, schedule, steps, SPACING)

        def denoise(x: Tensor, t: float) -> Tensor:
            return self.diffusion.denoised(network(x, t), x, t)

        held = clipped(denoise) if self.recipe.clipped else denoise
        noise = normal(seed, 0, Stream.START, (count, *self.shape))
        return torch.cat([solve(held, part, table) for part in noise.split(AT_ONCE)])


def times(seed: int, number: int, count: int, steps: int) -> Tensor:
    """Times of a batch, of {1/T … 1}, evenly spread from a random start (Kingma et al. 2021, app. I.1): (count,)."""
    start = generator(seed, number, Stream.TRAIN_CHOICE).random()
    evenly = (start + torch.arange(count, dtype=torch.float64) / count) % 1
    return ((evenly * steps).floor() + 1) / steps
