"""One call of Ho's U-Net for CIFAR-10, against the same network of diffusers in every engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import torch
from bench.speed import engines
from bench.speed.machine import compiler
from bench.speed.networks import NETWORKS, STEPS, check, our_config, ours_of, sizes, their_network
from bench.speed.timing import OURS, Case, measure
from torch import Tensor

from sfumato.networks.unet import UNet

__all__ = ["prepare", "rows"]

NAME = "CIFAR-10"
SECONDS = {1: 15, 4: 25, 16: 30}
COMPILED = (4,)  # a minute or two for each
QUICK, QUICK_SECONDS = (4,), 12


def batch_of(count: int) -> tuple[Tensor, Tensor]:
    """Noise, and step indices over the whole range."""
    side = NETWORKS[NAME]["sample_size"]
    x = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))
    return x, torch.linspace(0, STEPS - 1, count).long()


def ours(network: UNet) -> engines.Forward:
    return lambda x, i: network(x, (i + 1) / STEPS)


@torch.no_grad()
def rows(threads: int, quick: bool) -> Iterator[dict]:
    theirs, size = their_network(NAME), sizes(NAME)
    network = ours_of(theirs)
    for batch in QUICK if quick else SECONDS:
        x, i = batch_of(batch)
        forwards = {OURS: ours(network), "diffusers": engines.plain(theirs)}
        limited = "ONEDNN_MAX_CPU_ISA" in os.environ  # which not all of these engines keep to
        if batch in COMPILED and not quick and compiler() and not limited:
            forwards["diffusers, torch.compile"] = engines.compiled(theirs, threads)
        if not limited:
            forwards |= engines.exported(theirs, x, i, threads)
        sides = {name: partial(forward, x, i) for name, forward in forwards.items()}
        facts = {"sizes": size, "differences": check(sides)}
        yield measure(
            Case(f"{NAME} U-Net, batch {batch}", sides, QUICK_SECONDS if quick else SECONDS[batch], facts=facts)
        )


def prepare(side: str, batch: int) -> Callable[[], object]:
    """A run of one side alone, with random weights."""
    forward = ours(UNet(our_config(NAME)).eval()) if side == OURS else engines.plain(their_network(NAME))
    return partial(torch.no_grad()(forward), *batch_of(batch))
