"""Processes that import, answer `--help`, or make a first picture, all files being in the system's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

from bench.speed.timing import OURS, Case, measure, wall

__all__ = ["rows"]

SECONDS, QUICK_SECONDS = 20, 1
PROCESSES = {
    OURS: ("-m", "sfumato", "--help"),
    "sfumato train --help": ("-m", "sfumato", "train", "--help"),
    "import sfumato": ("-c", "import sfumato"),
    "import torch": ("-c", "import torch"),
    "python alone": ("-c", "pass"),
}
IMPORTS = {
    OURS: "import sfumato; sfumato.load",
    "diffusers, UNet2DModel and DDPMScheduler": "from diffusers import DDPMScheduler, UNet2DModel",
    "diffusers, DDPMPipeline": "from diffusers import DDPMPipeline",
}
FIRST = {
    OURS: "import sfumato; sfumato.load('emoji').sample(1)",
    "sfumato, loading alone": "import sfumato; sfumato.load('emoji')",
}
QUICK = {OURS, "import torch"}


def process(*arguments: str) -> str:
    # as an installed package: its modules are compiled once, by pip or by whoever imports them first
    compiles = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    told = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=compiles)
    assert told.returncode == 0, told.stderr
    return told.stdout


def after_torch(code: str) -> Callable[[], str]:
    """A process that says how many seconds it took once torch was imported."""
    whole = f"import torch, time; started = time.perf_counter(); {code}; print(time.perf_counter() - started)"
    return partial(process, "-c", whole)


def told_seconds(run: Callable[[], object]) -> float:
    return float(str(run()))


def rows(threads: int, quick: bool) -> Iterator[dict]:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    processes = {name: partial(process, *words) for name, words in PROCESSES.items()}
    imports, first = ({name: after_torch(code) for name, code in codes.items()} for codes in (IMPORTS, FIRST))
    for case, sides, timed in (
        ("sfumato --help", processes, wall),
        ("imports, after import torch", imports, told_seconds),
        ("first picture, after import torch", first, told_seconds),
    ):
        if quick and sides is imports:
            continue
        sides = {name: run for name, run in sides.items() if not quick or name in QUICK}
        seconds, least = (QUICK_SECONDS, 2) if quick else (SECONDS, 3)
        yield measure(Case(case, sides, seconds, least, timed=timed))
