"""Jobs are done once, costs become numbers of steps, and the search takes the best."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench.coverage.contest import Budget, best, costs_file, search_jobs
from bench.coverage.contestants import CONTESTANTS, TRIED, Choice, contestant
from bench.coverage.costs import costs, least_times
from bench.coverage.gaussians import Gaussians
from bench.coverage.jobs import Job, result, samples, work
from bench.coverage.trial import Plan

from sfumato.errors import InputError

TINY = Plan(steps=1, looks=1, n_look=20, n=20)


def test_a_job_is_done_once_and_again_when_its_settings_change(tmp_path: Path) -> None:
    job = Job("gaussians", "dcgan", Choice(2e-4), TINY, 0)
    assert result(job, tmp_path) is None
    assert work(job, tmp_path).startswith("gaussians-dcgan-0.0002-0-0: 1 call: ")
    found = result(job, tmp_path)
    assert found is not None
    assert found["curve"][0]["steps"] == 1
    assert samples(job, tmp_path).shape == (20, 2)
    for change in (
        {"choice": Choice(1e-3)},
        {"choice": Choice(2e-4, 0.1)},
        {"plan": replace(TINY, n=21)},
        {"seed": 1},
        {"contestant": "r3gan"},
        {"problem": "stacked-mnist"},
    ):
        assert result(replace(job, **change), tmp_path) is None
    job.path(tmp_path).write_text(json.dumps({"settings": {}}))
    assert result(job, tmp_path) is None


def test_equal_time_becomes_numbers_of_steps() -> None:
    budget = Budget(seconds=30, looks=10, n_look=1, n=1)
    assert budget.plan(0.002).steps == 15_000
    assert budget.plan(0.004).steps == 7_500
    assert budget.plan(100).steps == 10  # one for each look


def test_the_least_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, price = [0.0], {"a": [3.0, 1.0, 2.0], "b": [5.0, 7.0, 6.0]}
    monkeypatch.setattr("bench.coverage.costs.time.process_time", lambda: clock[0])
    turns = []

    def act(name: str, number: int) -> None:
        turns.append(name)
        clock[0] += price[name][number]

    actions = {name: lambda number, name=name: act(name, number) for name in price}
    assert least_times(actions, 3) == {"a": 1.0, "b": 5.0}
    assert turns == ["a", "b"] * 3


def test_costs_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.coverage.costs.STEPS", 2)
    monkeypatch.setattr("bench.coverage.costs.DRAWS", 1)
    problem = Gaussians()
    found = costs(problem, {name: contestant(problem, name, TRIED[name][0], 0) for name in CONTESTANTS})
    assert list(found) == list(CONTESTANTS)
    assert all(cost.step > 0 for cost in found.values())
    assert found["diffusion"].samples["50 steps"] > found["diffusion"].samples["20 steps"] > 0
    assert list(found["dcgan"].samples) == ["1 call"]


def test_the_search_takes_most_modes_then_the_highest_coverage(tmp_path: Path) -> None:
    costs_file("gaussians", tmp_path).write_text(json.dumps({"dcgan": {"step": 1000.0}}))
    jobs = search_jobs("gaussians", "dcgan", tmp_path)
    with pytest.raises(InputError, match=r"gaussians-dcgan-0\.0002-0-100\.json is missing"):
        best("gaussians", "dcgan", tmp_path)
    reached = [(5, 0.9), (7, 0.2), (7, 0.3), (7, 0.3)]
    for job, (modes, coverage) in zip(jobs, reached, strict=True):
        final = {"1 call": {"modes": modes, "coverage": coverage}}
        job.path(tmp_path).write_text(json.dumps({"settings": job.settings, "final": final}))
    choice, tried = best("gaussians", "dcgan", tmp_path)
    assert choice == TRIED["dcgan"][2]
    assert [(each["modes"], each["coverage"]) for each in tried] == reached
    assert [each["lr"] for each in tried] == [choice.lr for choice in TRIED["dcgan"]]
