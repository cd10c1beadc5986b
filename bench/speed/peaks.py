"""The peak memory of each workload, of ours and of diffusers, each in a fresh process (Linux).

A process imports what it needs, calls the tiny network once, and is measured from there: VmHWM less what was resident,
and VmHWM itself, which counts the libraries too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from bench.memory import alone, status
from bench.speed import forward, sampling, training
from bench.speed.machine import Load
from bench.speed.networks import our_config, their_network
from bench.speed.timing import OURS

from sfumato.networks.unet import UNet

__all__ = ["rows"]

BOTH = (OURS, "diffusers")
LEARNING = (OURS, training.RECOMPUTING, "diffusers")
RUNS = 2  # the second step of training has what the first one made
CASES: tuple[tuple[str, Callable[..., Callable[[], object]], int | str, tuple[str, ...]], ...] = (
    ("CIFAR-10 U-Net, forward, batch 1", forward.prepare, 1, BOTH),
    ("CIFAR-10 U-Net, forward, batch 16", forward.prepare, 16, BOTH),
    ("CIFAR-10 U-Net, training, batch 16", training.prepare, "CIFAR-10", LEARNING),
    ("small U-Net, training, batch 64", training.prepare, "small", LEARNING),
    ("shipped model, 1 picture", sampling.prepare, 1, (OURS,)),
    ("shipped model, 16 pictures", sampling.prepare, 16, (OURS,)),
)
QUICK = CASES[:1]


def peak(prepare: Callable[..., Callable[[], object]], what: object, side: str, threads: int) -> dict[str, float]:
    """In this process, MiB."""
    torch.set_num_threads(threads)
    if side == "diffusers":
        importlib.import_module("diffusers.training_utils")
    network = their_network("tiny") if side == "diffusers" else UNet(our_config("tiny"))
    network(torch.zeros(1, 3, 8, 8), torch.ones(1))
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run = prepare(side, what)
    for _ in range(RUNS):
        run()
    return {"peak_mib": round((status("VmHWM") - before) / 2**20), "whole_mib": round(status("VmHWM") / 2**20)}


def rows(threads: int, quick: bool) -> Iterator[dict]:
    if not Path("/proc/self/clear_refs").exists():
        return
    for case, prepare, what, sides in QUICK if quick else CASES:
        load = Load()
        found = {side: alone(peak, prepare, what, side, threads) for side in sides}
        for name, facts in found.items():
            if name != OURS:
                facts["ratio"] = facts["peak_mib"] / found[OURS]["peak_mib"]
                facts["whole_ratio"] = facts["whole_mib"] / found[OURS]["whole_mib"]
        yield {"case": case, "sides": found, **load.facts()}
