"""What a training would cost: counted on a network without numbers, and measured in a short burst on this machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sfumato.data.dataset import Dataset
from sfumato.devices import find_device
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.training.averages import Averages
from sfumato.training.batches import Batches
from sfumato.training.config import TrainConfig
from sfumato.training.objective import Objective
from sfumato.training.subject import network_for

__all__ = ["Estimate", "estimate"]

BURST = 4.0  # seconds that a measured step should take, unless the whole batch takes less
CHANNELS = 3


@dataclass(frozen=True)
class Estimate:
    """The cost of a training.

    Attributes:
        parameters: of the network.
        forward_flops, step_flops: of one picture: multiplications and additions, forward, and forward and backward.
        state_bytes: weights, gradients, AdamW's two moments, and averages, all float32.
        activation_bytes: what a micro-batch keeps for the backward pass, in float32.
        pictures, batch: of the run.
        measured: pictures in the measured step; 0: too large for this machine, nothing was measured.
        picture_seconds, update_seconds: forward and backward of one picture; optimizer and averages, once a step.
        machine: where that was measured.
    """

    parameters: int
    forward_flops: int
    step_flops: int
    state_bytes: int
    activation_bytes: int
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
            f"memory:      {self.state_bytes / 1e6:,.0f} MB for weights, gradients, optimizer and averages, and "
            f"{self.activation_bytes / 1e6:,.0f} MB of activations in float32 (in bfloat16 about half)",
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
    """Count and measure. No data is read: the pictures are noise, square, of three channels, with the network's labels.

    Raises:
        InputError: for texts or latents, whose sizes only the data or the autoencoder tell, and for any setting that
            `train` would refuse.
    """
    if config.text != "none" or config.autoencoder is not None:
        raise InputError("a dry run can be had for pictures with labels; not with --text or --autoencoder")
    device = find_device(config.device)
    asked, parts = config.objective, config.batch // config.accumulate
    entering, leaving = 1 + asked.self_conditioning, 1 + (asked.variance != "fixed")
    labels = () if config.unlabelled else config.network.labels
    shape = network_for(config.network, CHANNELS, labels, entering * CHANNELS, leaving * CHANNELS)
    forward, whole = _flops(shape, config.size)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in UNet(shape).parameters())
    averages = 1 + len(config.averages.halflives) + len(config.averages.lengths)
    state = 4 * parameters * (4 + averages)
    activations = parts * (_kept(shape, config.size, 3) - _kept(shape, config.size, 1)) // 2
    facts = (parameters, forward, whole, state, activations, config.pictures, config.batch)
    if state > _free(device) / 2:
        return Estimate(*facts, 0, 0.0, 0.0, str(device))
    with torch.random.fork_rng():
        if config.threads:
            torch.set_num_threads(config.threads)
        measured, picture, update = _burst(config, shape, device, parts)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return Estimate(*facts, measured, picture, update, machine)


def _flops(shape: UNetConfig, size: int) -> tuple[int, int]:
    """Of one picture, forward and with backward: counted by torch on tensors that have a shape and no numbers."""
    with torch.device("meta"):
        network, x, condition = UNet(shape), torch.zeros(1, shape.in_channels, size, size), _labels(shape, 1, "meta")
    with FlopCounterMode(display=False) as counter:
        output = network(x, 0.5, condition)
    forward = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        output.sum().backward()
    return forward, forward + counter.get_total_flops()


def _kept(shape: UNetConfig, size: int, count: int) -> int:
    """Bytes that `count` pictures keep for the backward pass, with the weights, which cancel in a difference."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"):
        network, x = UNet(shape).train(), torch.zeros(count, shape.in_channels, size, size)
        condition = _labels(shape, count, "meta")
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = network(x, 0.5, condition)  # held, so that no storage is freed and its number given out again
    del output
    return sum(seen.values())


def _labels(shape: UNetConfig, count: int, device: str) -> Condition:
    return Condition(labels=torch.zeros(count, len(shape.labels), dtype=torch.int64, device=device))


def _burst(config: TrainConfig, shape: UNetConfig, device: torch.device, most: int) -> tuple[int, float, float]:
    """Pictures in the measured step, seconds a picture, and seconds of an update."""
    from sfumato.training.loop import choose_arithmetic

    _, autocast = choose_arithmetic(config)
    diffusion = Diffusion(config.schedule.build(), config.prediction, config.objective.sigma_data)
    objective = Objective(config, diffusion, device)
    network = UNet(shape).to(device).train()
    learned = [*network.parameters(), *objective.parameters()]
    optimizer, averages = torch.optim.AdamW(learned, fused=True), Averages(config, network)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, config.size, config.size, CHANNELS), dtype=np.uint8)
    names = {str(k): tuple(map(str, range(n))) for k, n in enumerate(shape.labels)}
    batches = Batches(Dataset("noise", images, np.zeros((64, len(names)), np.int64), names), 0)

    def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with autocast:
            return network(x, t, condition).float()

    def step(seen: int, count: int) -> float:
        started = time.perf_counter()
        batch = batches.at(seen, count)
        objective(predict, batch, Condition(labels=batch.labels).to(device)).mean().backward()
        _wait(device)
        return time.perf_counter() - started

    count, spent = 1, step(0, 1)
    while count < most and spent < BURST:
        spent = step(count, count)  # what is made and looked up on the way to a new size is not measured
        if spent < BURST / 4 and count < most:
            count = min(2 * count, most)
            continue
        break
    spent = step(0, count)
    started = time.perf_counter()
    nn.utils.clip_grad_norm_(learned, config.clip, foreach=True)
    optimizer.step()
    averages.update(network, count, count)
    _wait(device)
    return count, spent / count, time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _free(device: torch.device) -> int:
    """Bytes of memory that are free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
