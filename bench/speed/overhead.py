"""What a step of sampling costs beside the network: our loop and tables, the bare arithmetic, diffusers' schedulers.

The network is a constant, so that only the bookkeeping is timed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import torch
from bench.speed.timing import OURS, Case, measure

import sfumato as sf
from sfumato import solvers
from sfumato.solvers.loop import fresh_noise

__all__ = ["rows"]

SHAPES = [(1, 3, 8, 8), (16, 3, 32, 32)]
STEPS = {"ddpm": 1000, "ddim": 50}  # 20 for all others
SECONDS, LEAST, QUICK = 0.5, 7, ("ddpm", "ddim", "dpmpp-2m", "unipc-2")
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


def ours(table: solvers.Table, shape: tuple[int, ...]) -> Callable[[], object]:
    """A run of our loop."""
    x, output = torch.randn(shape), torch.randn(shape)
    seeds = list(range(shape[0]))
    return lambda: sf.solve(lambda x, t: output, x, table, seeds=seeds)


def arithmetic(table: solvers.Table, shape: tuple[int, ...]) -> Callable[[], None]:
    """The multiplications and additions of a table, on as many tensors as are alive, and its noise; nothing else."""
    ring, seeds = [torch.randn(shape) for _ in range(2 * table.window + 1)], list(range(shape[0]))

    def run() -> None:
        fresh = fresh_noise(table, seeds, ring[0])
        for i, (_, terms, s) in enumerate(table.program):
            total = ring[i % len(ring)] * terms[0][2]
            for j, (_, _, weight) in enumerate(terms[1:], 1):
                total.add_(ring[(i - j) % len(ring)], alpha=weight)
            if s:
                total.add_(next(fresh), alpha=s)
            ring[i % len(ring)] = total

    return run


def theirs(name: str, options: dict, steps: int, shape: tuple[int, ...]) -> tuple[Callable[[], None], int]:
    """The same with a scheduler of diffusers, as its pipelines call it; and its network calls."""
    import diffusers

    scheduler = getattr(diffusers, name)(num_train_timesteps=1000, **options)
    start, output = torch.randn(shape), torch.randn(shape)
    generators = [torch.Generator().manual_seed(i) for i in range(shape[0])]
    more = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}

    def run() -> None:
        scheduler.set_timesteps(steps)
        x = start * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            scheduler.scale_model_input(x, t)
            x = scheduler.step(output, t, x, **more).prev_sample

    scheduler.set_timesteps(steps)
    return run, len(scheduler.timesteps)


def rows(threads: int, quick: bool) -> Iterator[dict]:
    for shape in SHAPES[:1] if quick else SHAPES:
        for name in QUICK if quick else solvers.names():
            steps = STEPS.get(name, 20)
            table = solvers.get(name, sf.NoiseSchedule.linear(), steps=steps)
            sides: dict[str, Callable[[], object]] = {OURS: ours(table, shape), "arithmetic": arithmetic(table, shape)}
            if name in DIFFUSERS:
                counted = table.calls if "Singlestep" in DIFFUSERS[name][0] else steps  # those count calls
                sides["diffusers"], calls = theirs(DIFFUSERS[name][0], DIFFUSERS[name][1], counted, shape)
                assert calls == table.calls, (name, calls, table.calls)
            shown = "x".join(map(str, shape))
            facts = {"solver": name, "shape": shown}
            yield measure(Case(f"{name}, {shown}", sides, SECONDS, LEAST, table.calls, facts=facts))
