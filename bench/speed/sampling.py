"""The shipped model end to end: from seeds to pictures, in 20 steps. With our convolutions, and with torch's.

No other library can hold its network (patches at the entrance, two kinds of labels). Torch's convolutions work in a
process beside this one, since which ones do is decided once.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial

import numpy as np
import torch
from bench.speed.timing import OURS, Case, measure

import sfumato as sf
from sfumato.networks.kernels.build import SWITCH

__all__ = ["prepare", "rows"]

MODEL, STEPS = "emoji", 20
BATCHES = (1, 16)
SECONDS, QUICK_SECONDS = 15, 5
MOST_LEVELS = 2  # of 255, between two ways of rounding


@cache
def shipped() -> sf.Model:
    return sf.load(MODEL)


def pictures(count: int) -> np.ndarray:
    return shipped().sample(count, steps=STEPS, batch=count).array


def rows(threads: int, quick: bool) -> Iterator[dict]:
    parameters = sum(p.numel() for p in shipped().network.parameters())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        os.environ[SWITCH] = "off"
        beside.submit(torch.set_num_threads, threads).result()  # starts the process
        del os.environ[SWITCH]
        for count in BATCHES:
            ours, by_torch = partial(pictures, count), partial(_there, beside, count)
            levels = np.abs(ours().astype(int) - by_torch()).max().item()
            assert levels <= MOST_LEVELS, f"pictures differ by {levels} levels"
            sides = {OURS: ours, "sfumato, torch's convolutions": by_torch}
            facts = {"parameters": parameters, "largest_difference_levels": levels}
            name = f"{count} picture{'s' * (count > 1)}, {STEPS} steps"
            yield measure(Case(name, sides, QUICK_SECONDS if quick else SECONDS, facts=facts))


def _there(process: ProcessPoolExecutor, count: int) -> np.ndarray:
    return process.submit(pictures, count).result()


def prepare(side: str, count: int) -> Callable[[], object]:
    """A run with the model, loaded anew."""
    return partial(pictures, count)
