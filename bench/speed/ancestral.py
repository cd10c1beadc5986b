"""1000 ancestral steps with a network so small that everything else shows, against diffusers' DDPMPipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from bench.speed.networks import STEPS, WORST, difference, ours_of, sizes, their_network
from bench.speed.timing import OURS, Case, measure

import sfumato as sf
from sfumato import solvers
from sfumato.diffusion.config import ScheduleConfig
from sfumato.generation.request import Request
from sfumato.models.spec import ModelSpec
from sfumato.solvers.loop import fresh_noise

if TYPE_CHECKING:
    from diffusers import UNet2DModel  # type: ignore

__all__ = ["rows"]

NAME, SIDE = "tiny", 8
QUICK_STEPS = 250
LAST = 50  # steps in which both are compared, with the same noise
SECONDS, QUICK_SECONDS = 45, 1


def checked(model: sf.Model, theirs: UNet2DModel) -> float:
    """How far the last steps of both end from each other, from one start and with the same noise."""
    from diffusers import DDPMScheduler  # type: ignore

    schedule = model.diffusion.schedule
    table = solvers.get("ddpm", schedule, times=[n / STEPS for n in range(LAST, -1, -1)])
    start, seeds = torch.randn(1, 3, SIDE, SIDE), [0]
    denoise = model.denoiser(model.ask(seeds), clip=True)
    with torch.no_grad():
        ours = sf.solve(denoise, start, table, seeds=seeds)
        scheduler, x, fresh = DDPMScheduler(STEPS), start, fresh_noise(table, seeds, start)
        # in float32, as they keep it, 1 - ᾱ is off by 6e-4 at the last steps
        betas = torch.linspace(scheduler.config.beta_start, scheduler.config.beta_end, STEPS, dtype=torch.float64)  # type: ignore
        scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
        with patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(fresh)):
            for i in range(LAST - 1, -1, -1):
                x = scheduler.step(theirs(x, i).sample, i, x).prev_sample  # type: ignore
    found = difference(ours, x)
    assert found <= WORST, f"the two samplers do not compute the same: {found}"
    return found


def rows(threads: int, quick: bool) -> Iterator[dict]:
    from diffusers import DDPMPipeline, DDPMScheduler  # type: ignore

    theirs = their_network(NAME)
    network = ours_of(theirs)
    schedule = ScheduleConfig("linear", zero_terminal_snr=False)
    model = sf.Model(ModelSpec(NAME, network.config, schedule, "eps", (SIDE, SIDE)), network)
    pipeline = DDPMPipeline(theirs, DDPMScheduler(STEPS))
    pipeline.set_progress_bar_config(disable=True)
    steps = QUICK_STEPS if quick else STEPS
    request = Request(steps, "ddpm", "trailing", clip=True)
    sides = {
        OURS: lambda: model.make(request, 1),
        "diffusers, DDPMPipeline": lambda: pipeline(
            generator=torch.Generator().manual_seed(0), num_inference_steps=steps
        ),
    }
    facts = {"sizes": sizes(NAME), "differences": {OURS: checked(model, theirs)}}
    seconds, least = (QUICK_SECONDS, 2) if quick else (SECONDS, 3)
    yield measure(Case(f"{NAME} U-Net, {steps} steps, 1x3x{SIDE}x{SIDE}", sides, seconds, least, facts=facts))
