"""Which modes of the data are found, by diffusion and by two GANs of equal size in equal time?

    python -m bench.coverage [PART …]

    digits      train the classifier that names the modes of Stacked-MNIST
    costs       what a training step costs each contestant here, on one thread
    search      four learning rates (or rates and penalties) for each, on a seed of its own
    contest     three seeds of each contestant on each problem, with what the search found best
    report      bench/results/coverage.json, the tables in docs/coverage.md, docs/images/coverage*.png

All of it takes less than an hour on two cores that have nothing else to do. What is finished lies in runs/coverage and
is not done again, unless settings or costs have changed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from bench.coverage.contest import (
    BUDGETS,
    SEEDS,
    Budget,
    best,
    contest_jobs,
    costs_file,
    find_costs,
    finished,
    search_jobs,
)
from bench.coverage.contestants import CONTESTANTS
from bench.coverage.jobs import do, samples
from bench.coverage.opening import PROBLEMS, classifier_accuracy, name_digits, open_problem
from bench.coverage.problem import Problem
from bench.coverage.report import Evidence, draw_curves, draw_samples, put_tables
from bench.coverage.trial import REAL, measured

from sfumato.files import write_text

ROOT = Path(__file__).parent.parent.parent
WORK = ROOT / "runs" / "coverage"
RESULTS = ROOT / "bench" / "results" / "coverage.json"
PAGE, PICTURES = ROOT / "docs" / "coverage.md", ROOT / "docs" / "images"
WORKERS = min(2, os.cpu_count() or 1)


def search() -> None:
    """The part "search"."""
    do([job for problem in PROBLEMS for name in CONTESTANTS for job in search_jobs(problem, name, WORK)], WORK, WORKERS)


def real(problem: Problem, budget: Budget) -> dict[str, Any]:
    """What data to learn from reach, beside data held out: at the end's number of samples, and at that on the way."""
    found = {}
    for when, n in (("final", budget.n), ("look", budget.n_look)):
        reference = problem.judge(problem.held_out(REAL, n))
        found[when] = measured(problem, problem.judge(problem.train(REAL + 1, 0, n)), reference)
    return found


def report() -> None:
    """The part "report"."""
    jobs = contest_jobs(WORK)
    problems = {name: open_problem(name, WORK) for name in PROBLEMS}
    evidence: Evidence = {
        "command": "make evidence-coverage",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, one thread a run, torch {torch.__version__}",
        "equal": "parameters of what samples, within 5 %; time, as steps · least process seconds of a step",
        "classifier_accuracy": classifier_accuracy(WORK),
        "budgets": {name: asdict(budget) for name, budget in BUDGETS.items()},
        "costs": {name: json.loads(costs_file(name, WORK).read_text()) for name in PROBLEMS},
        "search": {name: {each: best(name, each, WORK)[1] for each in CONTESTANTS} for name in PROBLEMS},
        "real": {name: real(problem, BUDGETS[name]) for name, problem in problems.items()},
        "runs": [finished(job, WORK) for job in jobs],
    }
    write_text(RESULTS, json.dumps(evidence, indent=1) + "\n")
    put_tables(evidence, PAGE)
    draw_curves(evidence, PICTURES / "coverage.png")
    shown = {name: {"real": problem.train(REAL + 1, 0, problem.shown)} for name, problem in problems.items()}
    for job in jobs:
        if job.seed == SEEDS[0]:
            shown[job.problem][job.contestant] = samples(job, WORK)
    draw_samples(shown, PICTURES / "coverage-samples.png")


PARTS = {
    "digits": lambda: name_digits(WORK),
    "costs": lambda: find_costs(WORK),
    "search": search,
    "contest": lambda: do(contest_jobs(WORK), WORK, WORKERS),
    "report": report,
}


if __name__ == "__main__":
    os.environ["SFUMATO_KERNELS"] = "off"  # no contestant has a convolution that the others lack
    WORK.mkdir(parents=True, exist_ok=True)
    for part in sys.argv[1:] or PARTS:
        if part not in PARTS:
            raise SystemExit(f"no part {part!r}; there are {', '.join(PARTS)}")
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
