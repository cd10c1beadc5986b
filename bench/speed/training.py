"""A step of training: noise, forward, backward, clipping, AdamW, average of the weights.

Ours is the body of `sfumato.training.loop`. Theirs is that of diffusers' train_unconditional.py, without accelerate,
which on one processor does nothing. Pictures come from memory, ready made, on both sides, and both have what
`sfumato train` asks of the C library (`keep_freed_memory`), as they share a process; theirs is faster for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from bench.speed.networks import NETWORKS, STEPS, WORST, in_our_names, our_config, ours_of, sizes, their_network
from bench.speed.timing import OURS, Case, measure
from torch import Tensor, nn

from sfumato.diffusion.process import Diffusion
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.memory import keep_freed_memory
from sfumato.networks.unet import UNet
from sfumato.seeds import Stream, noise
from sfumato.training.ema import Average, decay

if TYPE_CHECKING:
    from diffusers import UNet2DModel  # type: ignore

__all__ = ["RECOMPUTING", "prepare", "rows"]

RECOMPUTING = "sfumato, --gradient-checkpointing"
BATCHES = {"CIFAR-10": 16, "small": 64}
CHECKED = 4  # pictures
SECONDS, QUICK_SECONDS = 45, 1
WORST_GRADIENT = 1e-4  # all of it, relative; its sums are longer than those of the output
DIFFUSION = Diffusion(NoiseSchedule.linear(), "eps")


def pictures(name: str) -> Tensor:
    side = NETWORKS[name]["sample_size"]
    return torch.rand(BATCHES[name], 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def our_loss(network: UNet, x0: Tensor, i: Tensor, eps: Tensor) -> Tensor:
    t = (i + 1) / STEPS
    xt = DIFFUSION.noisy(x0, t, eps)
    return DIFFUSION.loss(network(DIFFUSION.network_input(xt, t), t), x0, t, eps).mean()


def our_step(network: UNet, x0: Tensor) -> Callable[[], None]:
    keep_freed_memory()
    network.train().requires_grad_(True)
    average = Average(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.99), fused=True)
    seen = 0

    def run() -> None:
        nonlocal seen
        numbers = [(0, n) for n in range(seen, seen + len(x0))]
        eps = noise(numbers, x0.shape[1:], Stream.TRAIN_NOISE)
        our_loss(network, x0, torch.tensor([n * 617 % STEPS for _, n in numbers]), eps).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += len(x0)
        average.update(network, decay(len(x0), seen, 500_000, 0.05))

    return run


def their_loss(network: UNet2DModel, scheduler, x0: Tensor, i: Tensor, eps: Tensor) -> Tensor:
    return F.mse_loss(network(scheduler.add_noise(x0, eps, i), i).sample, eps)


def their_step(network: UNet2DModel, x0: Tensor) -> Callable[[], None]:
    from diffusers import DDPMScheduler  # type: ignore
    from diffusers.training_utils import EMAModel

    network.train()
    scheduler = DDPMScheduler(STEPS)
    average = EMAModel(network.parameters(), use_ema_warmup=True, inv_gamma=1.0, power=0.75, decay=0.9999)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)

    def run() -> None:
        eps, i = torch.randn(x0.shape), torch.randint(0, STEPS, (len(x0),))
        their_loss(network, scheduler, x0, i, eps).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())

    return run


def checked(ours: UNet, theirs: UNet2DModel, x0: Tensor) -> dict[str, object]:
    """How far loss and gradient of ours are from theirs. Stops when it is too far."""
    from diffusers import DDPMScheduler  # type: ignore

    i, eps = torch.linspace(0, STEPS - 1, len(x0)).long(), torch.randn(x0.shape)
    ours.requires_grad_(True)
    losses = our_loss(ours, x0, i, eps), their_loss(theirs, DDPMScheduler(STEPS), x0, i, eps)
    for loss in losses:
        loss.backward()
    _, expected = in_our_names(theirs, {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    found = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    flat = [torch.cat([gradients[name].flatten() for name in sorted(expected)]) for gradients in (found, expected)]
    loss = abs(losses[0].item() / losses[1].item() - 1)
    gradient = ((flat[0] - flat[1]).norm() / flat[1].norm()).item()
    assert loss <= WORST, f"the losses are not the same: {loss}"
    assert gradient <= WORST_GRADIENT, f"the gradients are not the same: {gradient}"
    for network in (ours, theirs):
        network.zero_grad(set_to_none=True)
    return {"differences": {OURS: gradient}, "loss_difference": loss}


def rows(threads: int, quick: bool) -> Iterator[dict]:
    for name in ("small",) if quick else BATCHES:
        x0, theirs = pictures(name), their_network(name)
        ours = ours_of(theirs)
        facts = {"sizes": sizes(name), **checked(ours, theirs, x0[:CHECKED])}
        sides = {OURS: our_step(ours, x0), "diffusers": their_step(theirs, x0)}
        case = f"{name} U-Net, batch {BATCHES[name]}"
        yield measure(Case(case, sides, QUICK_SECONDS if quick else SECONDS, least=2 if quick else 3, facts=facts))


def prepare(side: str, name: str) -> Callable[[], object]:
    """A step of one side alone, with random weights."""
    x0 = pictures(name)
    if side == "diffusers":
        return their_step(their_network(name), x0)
    network = UNet(our_config(name))
    network.recomputes = side == RECOMPUTING
    return our_step(network, x0)
