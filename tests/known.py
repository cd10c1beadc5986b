"""A model that knows: whatever its network is, it says what the truth is, or anything else one likes."""

from __future__ import annotations

import numpy as np

from exact import Gaussian, doubles
from factory import network, spec
from sfumato.data.dataset import Dataset
from sfumato.diffusion.config import ScheduleConfig
from sfumato.generation.model import Model

SHORT = ScheduleConfig("linear", 10, False, beta_start=0.05, beta_end=0.5)


class Known(Model):
    """A model that says of x_t what a function says, and `further` of its variance, and keeps what it was told."""

    def __init__(self, say, schedule=SHORT, further=lambda x, t: x[:, :0], **changes) -> None:
        description = spec(schedule=schedule, **changes)
        super().__init__(description, network(description))
        self.say, self.further, self.told = say, further, []

    def predicted(self, x, t, condition, replay=None):
        self.told.append(condition)
        return self.say(x, t), self.further(x, t)


def exact(schedule=SHORT, mean=0.1, std=0.2) -> tuple[Known, Gaussian]:
    truth = Gaussian(schedule.build(), mean, std)
    return Known(lambda x, t: truth.denoise(x.double(), t).to(x), schedule), truth


def gaussian_bytes(count: int, mean: float = 0.1, std: float = 0.2) -> Dataset:
    values = 127.5 * (1 + mean + std * doubles(count, 8, 8, 3))
    return Dataset("bytes", values.round().clamp(0, 255).byte().numpy(), np.zeros((count, 0), np.int64))
