"""What a training would cost: counted on a network without numbers, and measured in a short burst on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from sfumato.memory import free_bytes, in_words
from sfumato.networks.blank import blank
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.training.config import TrainConfig
from sfumato.training.find_batch import largest
from sfumato.training.footprint import at_once, footprint, numbers
from sfumato.training.trial import Trial, place_of

__all__ = ["Estimate", "estimate"]

BURST = 4.0  # seconds that a measured step should take, unless the whole batch takes less


@dataclass(frozen=True)
class Estimate:
    """The cost of a training.

    Attributes:
        parameters: of the network.
        forward_flops, step_flops: of one picture: multiplications and additions, forward, and forward and backward.
        state_bytes: weights, gradients, AdamW's two moments, and averages, all float32.
        peak_bytes: the most that is there at the same time: these, and what a micro-batch makes (`footprint`).
        pictures, batch: of the run.
        measured: pictures in the measured step; 0: too large for this machine, nothing was measured.
        picture_seconds, update_seconds: forward and backward of one picture; optimizer and averages, once a step.
        machine: where that was measured.
    """

    parameters: int
    forward_flops: int
    step_flops: int
    state_bytes: int
    peak_bytes: int
    pictures: int
    batch: int
    measured: int
    picture_seconds: float
    update_seconds: float
    machine: str

    @property
    def seconds(self) -> float:
        """Of the whole run: pictures, and a step for every batch. Checkpoints, samples and data come on top."""
        return self.pictures * self.picture_seconds + -(-self.pictures // self.batch) * self.update_seconds

    def __str__(self) -> str:
        lines = [
            f"network:     {self.parameters:,} parameters",
            f"a picture:   {self.forward_flops / 1e9:.2f} GFLOPs forward, {self.step_flops / 1e9:.2f} with backward",
            f"run:         {self.pictures:,} pictures in steps of {self.batch}, "
            f"{self.pictures * self.step_flops:.2e} FLOPs",
            f"memory:      {in_words(self.peak_bytes)} by prediction, {in_words(self.state_bytes)} of it for weights, "
            "gradients, optimizer and averages",
        ]
        if not self.measured:
            return "\n".join(
                [*lines, f"time:        not measured: more than half of the free memory of {self.machine}"]
            )
        rate = self.pictures / self.seconds
        return "\n".join(
            [
                *lines,
                f"time:        {_span(self.seconds)} at {rate:.3g} pictures/s on {self.machine} "
                f"(measured: one step of {self.measured} pictures after a first; no data, checkpoints, samples)",
            ]
        )


def estimate(config: TrainConfig) -> Estimate:
    """Count and measure. No data is read: the pictures are noise of three channels, with the network's labels.

    Raises:
        InputError: for texts or latents, whose sizes only the data or the autoencoder tell, and for an objective or a
            device that `train` would refuse.
    """
    place, part = place_of(config), at_once(config)
    device, shape = torch.device(place.device), place.network
    forward, whole = _flops(shape, place.size)
    whole += forward // 2 if config.objective.self_conditioning else 0  # half of the pictures are guessed first
    taken, half = footprint(config, place), free_bytes(device) / 2
    facts = (numbers(shape), forward, whole, taken.state, taken.peak(part), config.pictures, config.batch)
    most = largest(lambda count: taken.peak(count) <= half, part)
    if not most:
        return Estimate(*facts, 0, 0.0, 0.0, place.device)
    with torch.random.fork_rng():
        if config.threads:
            torch.set_num_threads(config.threads)
        measured, picture, update = _burst(config, most)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return Estimate(*facts, measured, picture, update, machine)


def _flops(shape: UNetConfig, size: tuple[int, int]) -> tuple[int, int]:
    """Of one picture, forward and with backward: counted by torch on tensors that have a shape and no numbers."""
    with blank():
        network, x = UNet(shape), torch.zeros(1, shape.in_channels, *size)
        condition = Condition(labels=torch.zeros(1, len(shape.labels), dtype=torch.int64))
    with FlopCounterMode(display=False) as counter:
        output = network(x, 0.5, condition)
    forward = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        output.sum().backward()
    return forward, forward + counter.get_total_flops()


def _burst(config: TrainConfig, most: int) -> tuple[int, float, float]:
    """Pictures in the measured step, seconds a picture, and seconds of an update."""
    trial = Trial(config)
    count, spent = 1, trial.learn(1)
    while count < most and spent < BURST:
        spent = trial.learn(count)  # what is made and looked up on the way to a new size is not measured
        if spent < BURST / 4 and count < most:
            count = min(2 * count, most)
            continue
        break
    spent = trial.learn(count)
    return count, spent / count, trial.update(count)


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
