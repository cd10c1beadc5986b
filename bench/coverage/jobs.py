"""Trials as jobs whose results are files: what is done is not done again, and an interrupted contest goes on."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from bench.coverage.contestants import BATCH, Choice, contestant
from bench.coverage.opening import open_problem
from bench.coverage.trial import Plan, trial
from safetensors.torch import load_file, save_file
from torch import Tensor

from sfumato.files import atomic_path, write_text

__all__ = ["Job", "do", "result", "samples", "work"]


@dataclass(frozen=True)
class Job:
    """A trial of one contestant on one problem."""

    problem: str
    contestant: str
    choice: Choice
    plan: Plan
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result, and so whether a file holds it."""
        return {**asdict(self), "batch": BATCH[self.problem]}

    def path(self, folder: Path) -> Path:
        """The file of its result."""
        choice = f"{self.choice.lr:g}-{self.choice.penalty:g}"
        return folder / f"{self.problem}-{self.contestant}-{choice}-{self.seed}.json"


def result(job: Job, folder: Path) -> dict[str, Any] | None:
    """Its result, with its settings; none unless it was done with just these."""
    path = job.path(folder)
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found if found.get("settings") == job.settings else None


def samples(job: Job, folder: Path) -> Tensor:
    """The samples to be shown of a job that is done."""
    return load_file(job.path(folder).with_suffix(".safetensors"))["samples"]


def work(job: Job, folder: Path) -> str:
    """Do it, on one thread; a line for the log."""
    torch.set_num_threads(1)
    problem = open_problem(job.problem, folder)
    found, shown = trial(problem, contestant(problem, job.contestant, job.choice, job.seed), job.plan, job.seed)
    path = job.path(folder)
    with atomic_path(path.with_suffix(".safetensors")) as temporary:
        save_file({"samples": shown.contiguous()}, temporary)
    write_text(path, json.dumps({"settings": job.settings, **found}))  # last: it says that all is there
    last = found["final"].items()
    judged = [f"{way}: {of['modes']} modes, KL {of['kl']:.3f}, coverage {of['coverage']:.3f}" for way, of in last]
    return f"{path.stem}: {'; '.join(judged)}"


def do(jobs: Iterable[Job], folder: Path, workers: int) -> None:
    """All that are not done yet, each in a process of its own."""
    waiting = [job for job in jobs if result(job, folder) is None]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for finished in as_completed([pool.submit(work, job, folder) for job in waiting]):
            print(finished.result(), flush=True)
