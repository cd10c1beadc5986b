"""Looks at a run as it goes, and says so when it runs into one of the known pitfalls: once each, and at its time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.data.dataset import Dataset
from sfumato.diffusion.trivial import trivial_loss
from sfumato.networks.config import NO_LABEL
from sfumato.scaling import to_unit
from sfumato.training import pitfalls
from sfumato.training.batches import Batches
from sfumato.training.by_time import in_buckets
from sfumato.training.checkpoint import Window
from sfumato.training.config import TrainConfig
from sfumato.training.objective import Heard, Objective, Predict
from sfumato.training.steps import steps
from sfumato.training.subject import Subject
from sfumato.training.told import Told

__all__ = ["Watch", "spread"]

LOOKED_AT = 256  # pictures that tell the data's variance, at most
PROBED = 32  # pictures whose labels are left out to see what happens
FEWEST = 256  # pictures, of whose mean loss something is said
CHECKS = 4  # times in a run that labels are left out
PROBE_LOG_SNR = -2.3  # much noise, a tenth of it picture: where labels matter most


class Watch:
    """What there is to see of a run.

    All that it says follows from the config, the data and the state of the training, so that a run that is killed and
    goes on says the same.

    Args:
        config, subject, objective: of the run.
        network, predict: what is trained, and how it is called.
        say: where warnings go at once.
        told: what was told in earlier sittings.

    Attributes:
        variance: of a value of what is learned, around the mean picture.
        told: what was told so far, for the checkpoint.
    """

    def __init__(
        self,
        config: TrainConfig,
        subject: Subject,
        objective: Objective,
        network: nn.Module,
        predict: Predict,
        say: Callable[[str], None],
        told: Told,
    ) -> None:
        self._config, self._subject, self._objective = config, subject, objective
        self._network, self._predict, self._say = network, predict, say
        self.told = told
        self._probe = subject.batches.at(0, min(config.batch, PROBED))
        index, x0 = _first_pictures(subject.batches, config.batch, min(LOOKED_AT, len(subject.data)))
        self.variance = spread(x0)
        self._real = self.variance
        if subject.latents is not None:
            assert isinstance(subject.data, Dataset)  # nothing else is encoded
            self._real = spread(to_unit(subject.data.images[index]))
        self._told_something = bool(subject.labels.kinds) or subject.text is not None

    def start(self) -> None:
        """What can be known beforehand."""
        config = self._config
        self._warn("average", pitfalls.long_average(config))
        self._warn("pictures", pitfalls.memorisation_ahead(config.pictures, len(self._subject.data), config.flip))
        if self._told_something:
            self._warn("labels", pitfalls.labels_never_shown(config))

    def by_time(self, heard: Sequence[Heard]) -> Tensor:
        """The sums of a step, for `ByTime.plus`: (4, BUCKETS) on the device."""
        objective, asked = self._objective, self._config.objective
        sums = []
        for part in heard:
            trivial = trivial_loss(
                objective.weighting,
                objective.diffusion.prediction,
                objective.diffusion.schedule,
                part.t,
                self.variance,
                noise_variance=1 + asked.offset_noise**2,
                sigma_data=asked.sigma_data,
            )
            trivial = trivial.to(part.squared.device, part.squared.dtype, non_blocking=True)
            rows = torch.stack([torch.ones_like(part.squared), part.squared, trivial, part.v_error])
            sums.append(in_buckets(part.t, rows))
        return torch.stack(sums).sum(0)

    def samples(self, seen: int, pictures: np.ndarray) -> None:
        """A sheet of samples, uint8 (N, H, W, C), made when `seen` pictures had been shown."""
        if seen >= pitfalls.settled_in(self._config):
            self._warn("samples", pitfalls.collapsed(spread(to_unit(pictures)), self._real))

    def line(self, seen: int, window: Window) -> dict[str, Any]:
        """What a line of the log tells of the losses by time, and of warnings since the line before, if any."""
        settled, before = pitfalls.settled_in(self._config), seen - window.count
        sums = window.by_time
        if before >= settled and window.count >= FEWEST:
            loss, trivial = sum(sums.loss) / window.count, sum(sums.trivial) / window.count
            self._warn("loss", pitfalls.worse_than_trivial(loss, trivial))
        every = max(self._config.pictures // CHECKS, 1)
        due = seen >= settled and seen // every > before // every
        if due and self._told_something and not self.told.of("labels"):
            self._warn("labels", pitfalls.labels_ignored(self.effect_of_labels()))
        news, self.told = self.told.settled()
        return {"by_time": sums.means(), **({"warnings": news} if news else {})}

    @torch.no_grad()
    def effect_of_labels(self) -> float:
        """Root mean square of what leaving out labels or texts changes in x̂0, of the data's standard deviation."""
        batch, diffusion = self._probe, self._objective.diffusion
        t = torch.full((len(batch.x0),), diffusion.schedule.time(PROBE_LOG_SNR), dtype=torch.float64)
        bare = batch._replace(labels=torch.full_like(batch.labels, NO_LABEL), texts=("",) * len(batch.texts))
        some = [bool(text) for text in batch.texts] or (batch.labels != NO_LABEL).any(1).tolist()
        device = self._objective.device
        xt = diffusion.noisy(batch.x0.to(device), t, batch.noise.to(device))
        given, time = diffusion.network_input(xt, t), torch.as_tensor(diffusion.network_time(t))
        was_training = self._network.training
        self._network.eval()
        guesses = []
        for shown in (batch, bare):
            condition = self._subject.told(shown).to(device)
            if self._objective.self_conditioning:
                condition = replace(condition, pictures=torch.zeros_like(xt))
            output = self._predict(given, time, condition)[:, : xt.shape[1]]
            guesses.append(diffusion.denoised(output, xt, t)[torch.tensor(some)].double())
        self._network.train(was_training)
        change = (guesses[0] - guesses[1]).square().mean().item() if any(some) else math.inf
        return math.sqrt(change / self.variance) if self.variance else math.inf

    def _warn(self, name: str, text: str | None) -> None:
        if text is not None and not self.told.of(name):
            self.told = self.told.also(name, text)
            self._say(f"WARNING: {text}")


def spread(x: Tensor) -> float:
    """The variance of a value of x (N, C, H, W) from picture to picture, averaged over values; 0 of one picture."""
    return float(x.double().var(0, correction=min(1, len(x) - 1)).mean())


def _first_pictures(batches: Batches, batch: int, count: int) -> tuple[np.ndarray, Tensor]:
    """The first `count` pictures of a run, or those of them that have the shape of the first: numbers, and x_0."""
    shown = [batches.at(*step) for step in steps(0, count, batch)]
    alike = [part for part in shown if part.x0.shape[1:] == shown[0].x0.shape[1:]]
    return np.concatenate([part.pictures for part in alike]), torch.cat([part.x0 for part in alike])
