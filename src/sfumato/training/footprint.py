"""How much memory a training takes, said before it runs: its step is walked with shapes and without numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sfumato.networks.blank import blank
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.live import convolution_scratch, live_bytes_of_step
from sfumato.networks.unet import UNet
from sfumato.training.config import TrainConfig
from sfumato.training.steps import Part, split

__all__ = ["Footprint", "Place", "at_once", "footprint", "numbers", "state_bytes"]

WALKED = (16, 32)  # pictures at once


@dataclass(frozen=True)
class Place:
    """What is trained and where, as far as memory is concerned and the config does not say it.

    Attributes:
        network: the shape of the network.
        size: (height, width) of what it sees, pictures or latents.
        device: where it works.
        half: by bfloat16 arithmetic; weights are float32 in any case.
        tokens: of a text.
        learned: how many numbers of the network learn; None: all.
    """

    network: UNetConfig
    size: tuple[int, int]
    device: str = "cpu"
    half: bool = False
    tokens: int = 0
    learned: int | None = None


@dataclass(frozen=True)
class Footprint:
    """Bytes of a training, above what the libraries themselves take.

    Attributes:
        state: see `state_bytes`.
        few, many: what is there during each operation of a step, apart from the gradients that are part of the state,
            with the two numbers of pictures at once that were walked.
    """

    state: int
    few: np.ndarray
    many: np.ndarray

    def peak(self, pictures: int) -> int:
        """The most that is there at the same time, with so many pictures at once."""
        along = (pictures - WALKED[0]) / (WALKED[1] - WALKED[0])
        return self.state + round(float((self.few + along * (self.many - self.few)).max()))


def footprint(config: TrainConfig, place: Place) -> Footprint:
    """The memory that a training takes, for any number of pictures at once.

    Forward and backward are walked, for 16 and for 32 pictures, on torch's fake tensors, which go the way that tensors
    of this device go; a tensor counts from the operation that makes it to its end (`networks.live`). During each
    operation, what is there grows with the pictures along a straight line; which operation is the peak may change.

    Not counted: what an allocator keeps for itself, pictures in main memory, other networks (of texts), and what an
    objective adds to a squared error.
    """
    accumulates = config.accumulate > 1
    counted = 0 if accumulates else 4 * numbers(place.network)  # micro-batches add to gradients that are there
    few, many = (_walked(place, config.gradient_checkpointing, accumulates, count) - counted for count in WALKED)
    return Footprint(state_bytes(config, place), few, many)


def state_bytes(config: TrainConfig, place: Place) -> int:
    """Of what stays from step to step: weights, gradients, AdamW's two moments, and averages, all float32."""
    weights = numbers(place.network)
    learned = weights if place.learned is None else place.learned
    averages = 1 + len(config.averages.halflives) + len(config.averages.lengths)
    return 4 * (weights + (3 + averages) * learned)


def at_once(config: TrainConfig, ranks: int = 1) -> int:
    """How many pictures of a batch are there at once, of several processes in each."""
    return split(Part(0, config.batch), config.accumulate, 0, ranks)[0].count


@cache
def numbers(network: UNetConfig) -> int:
    """How many a network of this shape has to learn."""
    with blank():
        return sum(p.numel() for p in UNet(network).parameters())


@cache
def _walked(place: Place, recomputes: bool, accumulates: bool, count: int) -> np.ndarray:
    """Bytes of what forward and backward make, by operations: gradients, too, unless micro-batches have left some."""
    device, shape = torch.device(place.device), place.network
    dtype = torch.bfloat16 if place.half else torch.float32
    with blank():
        network = UNet(shape).train()
    weights = {name: (value.shape, value.stride()) for name, value in network.state_dict().items()}
    network.recomputes = recomputes
    with FakeTensorMode(), device:
        network.load_state_dict({name: torch.empty_strided(*layout) for name, layout in weights.items()}, assign=True)
        if accumulates:
            for p in network.parameters():
                p.grad = torch.empty_like(p)
        condition = Condition(
            labels=torch.zeros(count, len(shape.labels), dtype=torch.int64),
            words=torch.zeros(count, place.tokens, dtype=torch.int64) if shape.vocabulary else None,
            context=torch.empty(count, place.tokens, shape.context) if shape.context and not shape.vocabulary else None,
        )

        def step() -> None:
            x = torch.empty(count, shape.in_channels, *place.size)
            batch = [torch.empty_like(x) for _ in range(2)]  # a picture and its noise, of which x was made
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=place.half):
                output = network(x, torch.zeros(count, dtype=torch.float64), condition).float()
            ((output - torch.empty_like(output)) ** 2).mean().backward()
            del batch

        return np.array(live_bytes_of_step(step, convolution_scratch(device.type, dtype)))
