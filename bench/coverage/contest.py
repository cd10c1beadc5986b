"""Who competes, for how long: the trials of the search and of the contest."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from bench.coverage.contestants import CONTESTANTS, TRIED, Choice, contestant
from bench.coverage.costs import costs
from bench.coverage.jobs import Job, result
from bench.coverage.opening import PROBLEMS, open_problem
from bench.coverage.trial import Plan

from sfumato.errors import InputError
from sfumato.files import write_text

__all__ = ["BUDGETS", "SEEDS", "Budget", "best", "contest_jobs", "costs_file", "find_costs", "finished", "search_jobs"]

SEEDS, SEARCH_SEED = (0, 1, 2), 100


@dataclass(frozen=True)
class Budget:
    """Seconds of training, equal for all contestants; the rest as in `Plan`."""

    seconds: float
    looks: int
    n_look: int
    n: int

    def plan(self, step: float) -> Plan:
        """For a contestant whose training step costs so many seconds."""
        return Plan(max(self.looks, round(self.seconds / step)), self.looks, self.n_look, self.n)


BUDGETS = {
    "gaussians": Budget(seconds=60, looks=10, n_look=2_500, n=10_000),
    "stacked-mnist": Budget(seconds=240, looks=8, n_look=1_000, n=6_000),
}
SEARCH_BUDGETS = {
    "gaussians": Budget(seconds=25, looks=1, n_look=1_000, n=2_000),
    "stacked-mnist": Budget(seconds=60, looks=1, n_look=500, n=1_000),
}


def find_costs(folder: Path) -> None:
    """Measure what steps and samples cost, where the folder does not say it yet."""
    torch.set_num_threads(1)
    for name in PROBLEMS:
        if not costs_file(name, folder).exists():
            problem = open_problem(name, folder)
            players = {each: contestant(problem, each, TRIED[each][0], SEARCH_SEED) for each in CONTESTANTS}
            found = {each: asdict(cost) for each, cost in costs(problem, players).items()}
            write_text(costs_file(name, folder), json.dumps(found, indent=1))


def costs_file(problem: str, folder: Path) -> Path:
    """Where the `Cost` of each contestant stands."""
    return folder / f"costs-{problem}.json"


def search_jobs(problem: str, name: str, folder: Path) -> list[Job]:
    """One for each choice of a contestant."""
    return [_job(problem, name, choice, SEARCH_BUDGETS, SEARCH_SEED, folder) for choice in TRIED[name]]


def contest_jobs(folder: Path) -> list[Job]:
    """All of the contest, after the search."""
    return [
        _job(problem, name, best(problem, name, folder)[0], BUDGETS, seed, folder)
        for problem, seed, name in itertools.product(PROBLEMS, SEEDS, CONTESTANTS)
    ]


def _job(problem: str, name: str, choice: Choice, budgets: dict[str, Budget], seed: int, folder: Path) -> Job:
    """A trial for as many steps as its budget pays for."""
    step = json.loads(costs_file(problem, folder).read_text())[name]["step"]
    return Job(problem, name, choice, budgets[problem].plan(step), seed)


def best(problem: str, name: str, folder: Path) -> tuple[Choice, list[dict[str, float]]]:
    """The choice that finds most modes, among equals that of highest coverage; and what each reached."""
    jobs = search_jobs(problem, name, folder)
    finals = [next(iter(finished(job, folder)["final"].values())) for job in jobs]
    reached = [(found["modes"], found["coverage"]) for found in finals]
    tried = [
        {**asdict(job.choice), "modes": modes, "coverage": coverage}
        for job, (modes, coverage) in zip(jobs, reached, strict=True)
    ]
    return jobs[reached.index(max(reached))].choice, tried


def finished(job: Job, folder: Path) -> dict[str, Any]:
    """A result that must be there; `InputError` where it is not."""
    found = result(job, folder)
    if found is None:
        raise InputError(f"{job.path(folder)} is missing, or was made with other settings: run the part that makes it")
    return found
