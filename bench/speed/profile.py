"""Where the time of a call of the network and of a step of training goes, and how little it could be.

Times are those that torch's profiler finds for each operation and kernel, without what these call. The bound is of
multiply-adds alone: those of the convolutions that go Winograd's way (36 or 16 places a tile) and those of all else,
at the speed of a large product of matrices. Nothing that moves numbers only is in it: spreading, gathering, norms.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from math import ceil
from typing import Any
from unittest.mock import patch

import torch
from bench.speed import engines, forward, training
from bench.speed.machine import Load
from bench.speed.networks import NETWORKS, our_config, ours_of, their_network
from bench.speed.timing import OURS, alternate
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from sfumato.networks.blank import blank
from sfumato.networks.kernels import norm, winograd
from sfumato.networks.unet import UNet

__all__ = ["KINDS", "kind_of", "rows", "work_of"]

REST = "all else: Python, small operations"
KINDS = {  # of operations; the first that fits counts
    "3x3 convolutions, our kernels": r"sfumato_(convolve|spread_weights)",
    "their weights' gradients, our kernel": r"sfumato_weight_gradient",
    "norms and SiLU, our kernels": r"sfumato_normalise",
    "other convolutions, torch's": r"conv",
    "attention": r"scaled_dot_product|softmax",
    "products of matrices": r"mm$|linear",
    "optimiser, clipping, average": r"adamw|foreach|lerp|linalg_vector_norm",
    "sums, joins, copies": r"::(add_?|cat|copy_|clone|sum|fill_|zero_|upsample\w*|mul_?)$",
    REST: r"",
}
SIDE = 1024  # of the matrices whose product is the measure
SECONDS = 20
CASES = (("CIFAR-10", 1, False), ("CIFAR-10", 16, False), ("CIFAR-10", 16, True), ("small", 64, True))


def kind_of(operation: str) -> str:
    return next(kind for kind, pattern in KINDS.items() if re.search(pattern, operation))


def work_of(name: str, arguments: tuple[Any, ...]) -> tuple[int, int]:
    """Multiply-adds of a kernel's call: as it does them, and as a direct convolution would."""
    if name == "sfumato_convolve":
        n, height, width, c, k, side = arguments[5:11]
    elif name == "sfumato_convolve_once":
        (n, height, width, c, k), side = arguments[5:10], 4
    elif name == "sfumato_weight_gradient":
        (n, height, width, c, k), side = arguments[3:8], 4
    else:
        return 0, 0
    tiles = n * ceil(height / side) * ceil(width / side)
    return tiles * (side + 2) ** 2 * c * k, 9 * n * height * width * c * k


def kernels_seen(seen: Callable[..., None]) -> ExitStack:
    """While it is open, `seen(name, arguments, call)` makes every call of a kernel."""
    stack, native = ExitStack(), winograd.native

    def told(function: Any, *arguments: Any, wrote: torch.Tensor) -> None:
        seen(function.__name__, arguments, lambda: native(function, *arguments, wrote=wrote))

    for module in (winograd, norm):
        stack.enter_context(patch.object(module, "native", told))
    return stack


def counted(run: Callable[[], object]) -> tuple[int, int]:
    """Multiply-adds of our kernels in a run, as they do them and as direct convolutions would."""
    total = [0, 0]

    def seen(name: str, arguments: tuple[Any, ...], call: Callable[[], None]) -> None:
        total[0], total[1] = (a + b for a, b in zip(total, work_of(name, arguments), strict=True))
        call()

    with kernels_seen(seen):
        run()
    return total[0], total[1]


def direct(name: str, batch: int, learns: bool) -> int:
    """Multiply-adds of all convolutions and products of a run, done directly."""
    with blank():
        network, x = UNet(our_config(name)), torch.empty(1, 3, *[NETWORKS[name]["sample_size"]] * 2)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(learns):
        output = network(x, 0.5)
        if learns:
            output.sum().backward()
    return counter.get_total_flops() // 2 * batch


def spent(run: Callable[[], object], times: int) -> dict[str, float]:
    """Seconds of a run by kind of operation."""

    def seen(name: str, arguments: tuple[Any, ...], call: Callable[[], None]) -> None:
        with record_function(name):
            call()

    with kernels_seen(seen), profile(activities=[ProfilerActivity.CPU]) as found:
        started = time.perf_counter()
        for _ in range(times):
            run()
        whole = time.perf_counter() - started
    kinds = dict.fromkeys(KINDS, 0.0)
    for event in found.key_averages():
        kinds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    kinds[REST] += whole - sum(kinds.values())
    return {kind: seconds / times for kind, seconds in kinds.items()}


def product_speed() -> float:
    """Multiply-adds a second of a large product of matrices."""
    a = torch.randn(SIDE, SIDE)
    taken = alternate({OURS: lambda: a @ a}, 1.0, least=9)[OURS]
    return SIDE**3 / statistics.median(taken)


def rows(threads: int, quick: bool) -> Iterator[dict]:
    for name, batch, learns in CASES[:1] if quick else CASES:
        load, theirs = Load(), their_network(name)
        network = ours_of(theirs)
        if learns:
            x0 = training.pictures(name)
            ours, other = training.our_step(network, x0), training.their_step(theirs, x0)
        else:
            x, i = forward.batch_of(batch)
            ours, other = partial(forward.ours(network), x, i), partial(engines.plain(theirs), x, i)
        with torch.set_grad_enabled(learns):
            taken = alternate({OURS: ours, "diffusers": other}, 1.0 if quick else SECONDS, least=2)
            median = statistics.median(taken[OURS])
            done, replaced = counted(ours)
            kinds = spent(ours, max(1, round(2 / median)))
        multiply_adds = direct(name, batch, learns)
        facts = {
            "kinds": kinds,
            "multiply_adds": {"direct": multiply_adds, "ours": multiply_adds - replaced + done},
            "product_speed": product_speed(),
            "seconds": {side: statistics.median(times) for side, times in taken.items()},
        }
        what = "training" if learns else "forward"
        yield {"case": f"{name} U-Net, {what}, batch {batch}", **facts, **load.facts()}
