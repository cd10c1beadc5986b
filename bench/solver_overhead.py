"""What a step of sampling costs beside the network: our loop and table against diffusers' schedulers.

The network is a constant, so that only the bookkeeping is timed. Both sides run alternately in one process, on one
thread; the result is the median over rounds. Run by `make bench`; writes bench/results/solver_overhead.json.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch

import sfumato as sf
from sfumato import solvers

ROUNDS = 7
SHAPES = [(1, 3, 8, 8), (16, 3, 32, 32)]
CASES = {  # ours -> (diffusers' scheduler, its options, steps)
    "ddpm": ("DDPMScheduler", {"clip_sample": False}, 1000),
    "ddim": ("DDIMScheduler", {"clip_sample": False}, 50),
    "heun": ("HeunDiscreteScheduler", {}, 20),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {}, 20),
}


def ours(name: str, steps: int, shape: tuple[int, ...]) -> Callable[[], int]:
    """A run of our loop; returns its network calls."""
    table = solvers.get(name, sf.NoiseSchedule.linear(), steps=steps)
    x, output = torch.randn(shape), torch.randn(shape)
    seeds = list(range(shape[0]))

    def run() -> int:
        sf.solve(lambda x, t: output, x, table, seeds=seeds)
        return table.calls

    return run


def theirs(name: str, options: dict, steps: int, shape: tuple[int, ...]) -> Callable[[], int]:
    """The same with a scheduler of diffusers, as its pipelines call it."""
    scheduler = getattr(diffusers, name)(num_train_timesteps=1000, **options)
    start, output = torch.randn(shape), torch.randn(shape)
    generators = [torch.Generator().manual_seed(i) for i in range(shape[0])]

    def run() -> int:
        scheduler.set_timesteps(steps)
        x = start * scheduler.init_noise_sigma
        more = {"generator": generators} if name in ("DDPMScheduler",) else {}
        for t in scheduler.timesteps:
            scheduler.scale_model_input(x, t)
            x = scheduler.step(output, t, x, **more).prev_sample
        return len(scheduler.timesteps)

    return run


def microseconds(run: Callable[[], int]) -> float:
    started = time.perf_counter()
    calls = run()
    return (time.perf_counter() - started) / calls * 1e6


def main() -> None:
    torch.set_num_threads(1)
    results = []
    for shape in SHAPES:
        for name, (scheduler, options, steps) in CASES.items():
            a, b = ours(name, steps, shape), theirs(scheduler, options, steps, shape)
            a()
            b()
            times = [(microseconds(a), microseconds(b)) for _ in range(ROUNDS)]
            mine, other = (statistics.median(t) for t in zip(*times, strict=True))
            ratio = statistics.median(y / x for x, y in times)
            results.append(
                {"solver": name, "shape": shape, "us_per_call": round(mine, 1), "diffusers": round(other, 1)}
            )
            results[-1]["ratio"] = round(ratio, 1)
            print(f"{name:>9} {shape!s:>16}: {mine:7.1f} us a network call; diffusers {other:7.1f}; ratio {ratio:.1f}")
    facts = {
        "command": "make bench (bench/solver_overhead.py)",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "machine": platform.machine(),
        "threads": 1,
        "results": results,
    }
    (Path(__file__).parent / "results" / "solver_overhead.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
