"""What a step of sampling costs beside the network: our loop and tables, the bare arithmetic, diffusers' schedulers.

The network is a constant, so that only the bookkeeping is timed. All sides run alternately in one process, on one
thread; the result is the median over rounds. Run by `make bench`; writes bench/results/solver_overhead.json.
"""

from __future__ import annotations

import inspect
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
from sfumato.solvers.loop import fresh_noise

ROUNDS = 7
SHAPES = [(1, 3, 8, 8), (16, 3, 32, 32)]
STEPS = {"ddpm": 1000, "ddim": 50}  # 20 for all others
DIFFUSERS = {  # ours -> diffusers' scheduler, its options
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "ancestral-euler": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm-solver-3s": ("DPMSolverSinglestepScheduler", {"solver_order": 3, "final_sigmas_type": "sigma_min"}),
    "dpmpp-2s": ("DPMSolverSinglestepScheduler", {}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp-3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "sde-dpmpp-2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc-2": ("UniPCMultistepScheduler", {}),
    "unipc-3": ("UniPCMultistepScheduler", {"solver_order": 3}),
    "deis-2": ("DEISMultistepScheduler", {"solver_order": 2}),
    "deis-3": ("DEISMultistepScheduler", {"solver_order": 3}),
    "plms": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
}


def ours(table: solvers.Table, shape: tuple[int, ...]) -> Callable[[], int]:
    """A run of our loop; returns its network calls."""
    x, output = torch.randn(shape), torch.randn(shape)
    seeds = list(range(shape[0]))

    def run() -> int:
        sf.solve(lambda x, t: output, x, table, seeds=seeds)
        return table.calls

    return run


def arithmetic(table: solvers.Table, shape: tuple[int, ...]) -> Callable[[], int]:
    """The multiplications and additions of a table, on as many tensors as are alive, and its noise; nothing else."""
    ring, seeds = [torch.randn(shape) for _ in range(2 * table.window + 1)], list(range(shape[0]))

    def run() -> int:
        fresh = fresh_noise(table, seeds, ring[0])
        for i, (_, terms, s) in enumerate(table.program):
            total = ring[i % len(ring)] * terms[0][2]
            for j, (_, _, weight) in enumerate(terms[1:], 1):
                total.add_(ring[(i - j) % len(ring)], alpha=weight)
            if s:
                total.add_(next(fresh), alpha=s)
            ring[i % len(ring)] = total
        return table.calls

    return run


def theirs(name: str, options: dict, steps: int, shape: tuple[int, ...]) -> Callable[[], int]:
    """The same with a scheduler of diffusers, as its pipelines call it."""
    scheduler = getattr(diffusers, name)(num_train_timesteps=1000, **options)
    start, output = torch.randn(shape), torch.randn(shape)
    generators = [torch.Generator().manual_seed(i) for i in range(shape[0])]
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters

    def run() -> int:
        scheduler.set_timesteps(steps)
        x = start * scheduler.init_noise_sigma
        more = {"generator": generators} if takes_generator else {}
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
        for name in solvers.names():
            steps = STEPS.get(name, 20)
            table = solvers.get(name, sf.NoiseSchedule.linear(), steps=steps)
            runs = [ours(table, shape), arithmetic(table, shape)]
            if name in DIFFUSERS:
                scheduler, options = DIFFUSERS[name]
                runs.append(theirs(scheduler, options, steps, shape))
            for run in runs:
                run()
            rounds = [[microseconds(run) for run in runs] for _ in range(ROUNDS)]
            middle = [round(statistics.median(times), 1) for times in zip(*rounds, strict=True)]
            found = {"solver": name, "shape": shape, "us_per_call": middle[0], "arithmetic": middle[1]}
            found["to_arithmetic"] = round(statistics.median(times[0] / times[1] for times in rounds), 2)
            if name in DIFFUSERS:
                found["diffusers"] = middle[2]
                found["diffusers_to_ours"] = round(statistics.median(times[2] / times[0] for times in rounds), 1)
            results.append(found)
            print(found, flush=True)
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
