"""Steps of a training on made-up pictures, to see what they cost on this machine."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.data.dataset import Dataset
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.networks.condition import Condition
from sfumato.networks.unet import UNet
from sfumato.training.averages import Averages
from sfumato.training.batches import Batches
from sfumato.training.config import TrainConfig
from sfumato.training.footprint import Place
from sfumato.training.loop import choose_arithmetic
from sfumato.training.objective import Objective
from sfumato.training.subject import network_for

__all__ = ["Trial", "place_of"]

CHANNELS = 3
PICTURES = 64  # different ones


def place_of(config: TrainConfig) -> Place:
    """What this config trains, and where, if its data are pictures of three channels with the network's labels.

    Raises:
        InputError: for texts or latents, whose sizes only the data or the autoencoder tell, for an adapter, and for a
            device or an arithmetic that `train` would refuse.
    """
    if config.text != "none" or config.autoencoder is not None or config.lora.rank is not None:
        raise InputError("this can be told of pictures with labels; not with --text, --autoencoder or --lora.rank")
    device, autocast = choose_arithmetic(config)
    asked, labels = config.objective, () if config.unlabelled else config.network.labels
    entering, leaving = 1 + asked.self_conditioning, 1 + (asked.variance != "fixed")
    network = network_for(config.network, CHANNELS, labels, entering * CHANNELS, leaving * CHANNELS)
    return Place(network, config.picture_size, str(device), autocast._enabled)


class Trial:
    """A training whose pictures are noise. It draws from torch's generator.

    Args:
        config: of the training.

    Raises:
        InputError: as `place_of`, and for an objective that `train` would refuse.
    """

    def __init__(self, config: TrainConfig) -> None:
        place = place_of(config)
        self.config = config
        self.device, self._autocast = choose_arithmetic(config)
        diffusion = Diffusion(config.schedule.build(), config.prediction, config.objective.sigma_data)
        self._objective = Objective(config, diffusion, self.device)
        self.network = UNet(place.network).to(self.device).train()
        self.network.recomputes = config.gradient_checkpointing
        self._learned = [*self.network.parameters(), *self._objective.parameters()]
        self._optimizer = torch.optim.AdamW(self._learned, fused=True)
        self._averages = Averages(config, self.network)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (PICTURES, *place.size, CHANNELS), dtype=np.uint8)
        names = {str(k): tuple(map(str, range(n))) for k, n in enumerate(place.network.labels)}
        self._batches = Batches(Dataset("noise", images, np.zeros((PICTURES, len(names)), np.int64), names), 0)

    def learn(self, count: int) -> float:
        """Forward and backward of so many pictures at once. Returns seconds."""
        started = time.perf_counter()
        batch = self._batches.at(0, count)
        self._objective(self._predict, batch, Condition(labels=batch.labels).to(self.device)).mean().backward()
        self._wait()
        return time.perf_counter() - started

    def update(self, count: int) -> float:
        """What follows once a step, of `count` pictures: clipping, optimizer, averages. Returns seconds."""
        started = time.perf_counter()
        nn.utils.clip_grad_norm_(self._learned, self.config.clip, foreach=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._objective.settle()
        self._averages.update(self.network, count, count)
        self._wait()
        return time.perf_counter() - started

    def step(self, count: int) -> float:
        """All of a step, with so many pictures in each of its micro-batches. Returns seconds."""
        parts = self.config.accumulate
        return sum(self.learn(count) for _ in range(parts)) + self.update(parts * count)

    def forget(self) -> None:
        """The gradients of a step that could not be finished."""
        self._optimizer.zero_grad(set_to_none=True)

    def _predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with self._autocast:
            return self.network(x, t, condition).float()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
