"""The order of convergence of every deterministic solver, on a flow that is known exactly."""

import numpy as np
import pytest
import torch

from exact import Gaussian, Mixture
from sfumato import solvers
from sfumato.diffusion.schedule import NoiseSchedule

LINEAR = NoiseSchedule.linear()
EVEN = NoiseSchedule.edm(sigma_min=0.2, sigma_max=4.0, rho=1.0, steps=2000)  # t and σ/α fall together

FULL = {"lower_order_final": False}  # a last step of low order would be all that one sees
CASES = [  # solver, options, order, variable in which the steps are even
    ("ddim", {}, 1, "ell"),
    ("euler", {}, 1, "ell"),
    ("dpm-solver-1", {}, 1, "ell"),
    ("heun", {}, 2, "ell"),
    ("dpm-solver-2s", {}, 2, "ell"),
    ("dpm-solver-3s", {}, 3, "ell"),
    ("dpmpp-2s", {}, 2, "ell"),
    ("dpm-solver-2m", FULL, 2, "ell"),
    ("dpm-solver-3m", FULL, 3, "ell"),
    ("dpmpp-2m", {}, 2, "ell"),
    ("dpmpp-2m", {"order": 1}, 1, "ell"),
    ("dpmpp-3m", FULL, 3, "ell"),
    *[(f"unipc-{p}", {**FULL, "variant": v}, p + 1, "ell") for p in (1, 2, 3) for v in ("bh1", "bh2")],
    *[(f"unipc-{p}", {**FULL, "corrector": "off"}, p, "ell") for p in (1, 2, 3)],
    *[(f"deis-{p}", {**FULL, "variable": v}, p, "ell") for p in (1, 2, 3) for v in ("t", "log-rho")],
    *[(f"ipndm-{p}", {}, p, "rho") for p in (1, 2, 3, 4)],
    ("plms", {"warmup": "heun"}, 4, "rho"),
    ("plms", {"warmup": "rk"}, 4, "rho"),
    *[("lms", {"order": p}, p, "ell") for p in (1, 2, 3, 4)],
    *[("ab", {"order": p, "prediction": q}, p, "ell") for p in (1, 2, 3, 4) for q in ("eps", "x0", "v")],
]


def grid(schedule, variable, steps, start=0.9, end=0.3):
    low, high = schedule.log_snr(start) / 2, schedule.log_snr(end) / 2
    if variable == "rho":
        return schedule.time(-2 * np.log(np.linspace(np.exp(-low), np.exp(-high), steps + 1)))
    return schedule.time(2 * np.linspace(low, high, steps + 1))


def error(truth, name, options, times):
    """Of the result, when the calls that a row looks back to were made at exact points."""
    table = solvers.get(name, truth.schedule, times=times, **options)
    start = float(table.times[0])
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    begin = 0 if table.calls > table.steps + 1 else table.calls - table.steps + table.window
    points, pictures, now = [], [], x
    for i, t in enumerate(table.times[:-1].tolist()):
        if i <= begin:
            now = truth.flow(x, start, t)
        points.insert(0, now)
        pictures.insert(0, truth.denoise(now, t))
        now = sum(w * p for w, p in zip(table.X[i], points, strict=False))
        now = now + sum(w * p for w, p in zip(table.D[i], pictures, strict=False))
    return (now - truth.flow(x, start, float(table.times[-1]))).abs().max().item()


@pytest.mark.parametrize(("name", "options", "order", "variable"), CASES)
@pytest.mark.parametrize("kind", [Gaussian, Mixture])
def test_order_of_convergence(name, options, order, variable, kind):
    truth = kind(EVEN if variable == "rho" else LINEAR)
    counts = (320, 640)
    errors = [error(truth, name, options, grid(truth.schedule, variable, n)) for n in counts]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_every_deterministic_solver_is_measured():
    assert {name for name, *_ in CASES} == {name for name in solvers.names() if solvers.SOLVERS[name].order}
