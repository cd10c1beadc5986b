"""The evidence for the solvers: how far each ends from the exact solution, by network calls. `make evidence-solvers`.

    mixture     all solvers on a mixture whose score and flow are known; no network
    model       all deterministic ones, and tuned tables, against 1000 steps on the shipped model
    distance    Fréchet distances: tuned and hand-made at few steps; the default and 1000 ancestral steps
    plot        the pictures in docs/images

`python bench/solvers.py PART …` runs some of these; each writes its part of bench/results/solvers.json. The two in the
middle are the long ones. Errors are root mean squares, pictures in [-1, 1].
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

import sfumato as sf
from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.generation.request import Request
from sfumato.images import Images, save_png
from sfumato.solvers import SOLVERS, Table, get, solve
from sfumato.tuning.reference import reference_of

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from exact import Mixture  # noqa: E402 (the truth that the tests use)

RESULTS = ROOT / "bench" / "results" / "solvers.json"
PICTURES = ROOT / "docs" / "images"
SPACINGS = ("visible", "log-snr", "karras", "trailing")
MODEL_SEEDS = range(3_000_000, 3_000_032)
VARIANTS: dict[str, tuple[str, dict]] = {
    **{
        name: (name, {})
        for name in SOLVERS
        if name not in ("euler", "dpm-solver-1", "ancestral-euler", "deis-1", "ipndm-1")
    },
    "ab x0": ("ab", {"prediction": "x0"}),
    "ab v": ("ab", {"prediction": "v", "order": 2}),
    "plms rk": ("plms", {"warmup": "rk"}),
    "unipc-2 bh1": ("unipc-2", {"variant": "bh1"}),
    "deis-3 log-rho": ("deis-3", {"variable": "log-rho"}),
}
"""Left out are names that give the same table as another: euler, dpm-solver-1, deis-1, ipndm-1 (ddim), ancestral-euler
(ddpm)."""


MANY = ("ddim", "heun", "dpmpp-2m", "unipc-2", "deis-3", "lms", "ab v")
"""Those that are measured at 20 calls on the shipped model too."""


def table_of(label: str, schedule: sf.NoiseSchedule, calls: int, spacing: str) -> Table | None:
    """The table with as many steps as fit into that many network calls; none where that is no whole step."""
    name, options = VARIANTS[label]
    for steps in range(calls, 0, -1):
        try:
            table = get(name, schedule, steps, spacing, **options)
        except InputError:
            return None
        if table.calls <= calls:
            return table
    return None


def save(part: str, facts: dict) -> None:
    everything: dict = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"command": "make evidence-solvers"}
    everything[part] = facts
    RESULTS.write_text(json.dumps(everything, indent=1) + "\n")


def mixture() -> None:
    """Deterministic solvers: distance to the exact flow. Stochastic ones: to the exact law (W2 of sorted values)."""
    schedule = sf.NoiseSchedule.cosine().zero_terminal_snr()
    truth = Mixture(schedule)
    n = 4096
    probabilities = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    start = torch.special.ndtri(probabilities)[:, None]  # the quantiles of N(0, 1): a start without sampling error
    exact = truth.flow(start, 1.0, 0.0)
    results = {}
    for label, (name, _) in VARIANTS.items():
        results[label] = {}
        for calls in (5, 10, 20, 50, 100):
            errors = {}
            for spacing in SPACINGS:
                table = table_of(label, schedule, calls, spacing)
                if table is None:
                    continue
                result = solve(truth.denoise, start, table, seeds=range(n))
                if not SOLVERS[name].order:
                    result = result.sort(0).values
                errors[spacing] = (result - exact).square().mean().sqrt().item()
            if not errors:  # no whole step fits into so few calls
                continue
            best = min(errors, key=lambda s: errors[s])
            results[label][calls] = {"spacing": best, "error": float(f"{errors[best]:.3g}")}
        print(label, {c: (r["spacing"], r["error"]) for c, r in results[label].items()}, flush=True)
    save(
        "mixture", {"schedule": repr(schedule), "data": repr(truth.weights + truth.means + truth.stds), "best": results}
    )


def model() -> None:
    """On seeds that no table was tuned on. Guidance scale and labels are the model's defaults."""
    emoji = sf.load("emoji")
    seeds = list(MODEL_SEEDS)
    reference = reference_of(emoji, seeds, fine_steps=1000, batch=16)
    results: dict[str, dict] = {}

    def measure(label: str, spacing: str, calls: int, table: Table) -> None:
        each = (solve(reference.denoise, reference.start, table) - reference.result).square().flatten(1).mean(1)
        facts = {"rmse": round(each.mean().sqrt().item(), 4), "median": round(each.sqrt().median().item(), 4)}
        results.setdefault(label, {}).setdefault(str(calls), {})[spacing] = facts

    for calls in (6, 10, 5, 8, 4, 20):
        for label, (name, _) in VARIANTS.items():
            if not SOLVERS[name].order or (calls >= 20 and label not in MANY):
                continue
            for spacing in SPACINGS if calls < 20 else SPACINGS[:2]:
                table = table_of(label, emoji.diffusion.schedule, calls, spacing)
                if table is not None:
                    measure(label, spacing, calls, table)
        for steps, tuned in emoji.tuned.items():
            if steps == calls:
                measure("tuned", "tuned", calls, tuned.table)
                for name in ("dpmpp-2m", "unipc-2"):  # how much of it is in the times alone
                    own = get(name, emoji.diffusion.schedule, times=tuned.table.times)
                    measure(name, "tuned times", calls, own)
        ranked = sorted((e["rmse"], label, s) for label, r in results.items() for s, e in r.get(str(calls), {}).items())
        print(calls, ranked[:6], flush=True)
        facts = {"reference": "dpmpp-2m, 1000 steps, log-snr", "pictures": len(seeds), "seeds": [seeds[0], seeds[-1]]}
        save("model", {**facts, "guidance_scale": emoji.spec.sampling.guidance_scale, "errors": results})


def distance() -> None:
    """FD-EffNetLite0 to all training pictures. Comparable among rows of equal n only."""
    from sfumato.evaluation.extractors.efficientnet import efficientnet_lite0
    from sfumato.evaluation.frechet import frechet_distance

    emoji = sf.load("emoji")
    data = sf.open_data(str(emoji.spec.data["name"]))
    features = efficientnet_lite0().features
    real = features(data.images)
    rows = []

    def measure(n: int, solver: str, steps: int, spacing: str | None = None) -> None:
        began = time.perf_counter()
        images = emoji.make(Request(steps, solver, spacing), n, seed=4_000_000)
        value = frechet_distance(features(images.array), real)
        rows.append({"n": n, "solver": solver, "steps": steps, "spacing": spacing, "fd": round(value, 2)})
        rows[-1]["seconds"] = round(time.perf_counter() - began, 1)
        print(rows[-1], flush=True)
        save("distance", {"metric": "FD-EffNetLite0", "real": f"{len(real)} of {data.name}", "rows": rows})

    errors = json.loads(RESULTS.read_text())["model"]["errors"]
    for steps in sorted(emoji.tuned):
        ranked = sorted(
            (e["rmse"], label, s)
            for label, r in errors.items()
            for s, e in r.get(str(steps), {}).items()
            if label in SOLVERS and s in SPACINGS and SOLVERS[label].calls == "1"
        )
        best = {label: spacing for _, label, spacing in reversed(ranked)}  # by error to the exact solution
        measure(128, "tuned", steps)
        for label, spacing in best.items():
            measure(128, label, steps, spacing)
    default = emoji.spec.sampling
    measure(128, default.solver, 50, default.spacing)  # nearly exact
    for steps in (10, 20):
        measure(32, default.solver, steps, default.spacing)
    measure(32, "tuned", 10)
    measure(32, "ddpm", 1000, "trailing")


def plot() -> None:
    """docs/images: solvers.png, error by calls; few-steps.png, the same seeds at 5, 10, 20, 50 and 1000 steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    facts = json.loads(RESULTS.read_text())
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    exact, trained = figure.subplots(1, 2)
    for label in ("ddpm", "ddim", "heun", "dpmpp-2m", "unipc-2", "unipc-3", "deis-3", "sde-dpmpp-2m", "lms"):
        best = facts["mixture"]["best"][label]
        calls = [int(c) for c in best]
        exact.loglog(calls, [best[str(c)]["error"] for c in calls], ".-", label=label)
    exact.set(title="Mixture with a known score", xlabel="network calls", ylabel="error")
    exact.legend(fontsize="x-small", ncols=2)
    errors = facts["model"]["errors"]
    for label in ("ddim", "heun", "dpmpp-2m", "unipc-2", "deis-3", "lms", "tuned"):
        points = sorted(
            (int(c), min(e["rmse"] for s, e in r.items() if s != "tuned times")) for c, r in errors[label].items()
        )
        style = {"color": "black", "linewidth": 2.5} if label == "tuned" else {}
        trained.loglog(*zip(*points, strict=True), ".-", label=label, **style)
    trained.set(title="Shipped model, against 1000 steps", xlabel="network calls", ylabel="error")
    trained.legend(fontsize="x-small", ncols=2)
    for axes in (exact, trained):
        axes.grid(alpha=0.3)
    figure.savefig(PICTURES / "solvers.png", dpi=100)

    emoji = sf.load("emoji")
    sheet = [emoji.make(request, 8, seed=100).array for request in rows_of_the_sheet(emoji)]
    grid = Images(np.concatenate(sheet)).grid(columns=8)
    save_png(PICTURES / "few-steps.png", grid.repeat(2, axis=0).repeat(2, axis=1), sf.generation.model.MARK)


def rows_of_the_sheet(emoji: Model) -> list[Request]:
    """Tuned at 5 steps; the default solver at 5, 10, 20, 50, 1000; 1000 ancestral steps."""
    default = [Request(steps) for steps in (5, 10, 20, 50, 1000)]
    return [Request(5, "tuned"), *default, Request(1000, "ddpm", "trailing")]


PARTS = {"mixture": mixture, "model": model, "distance": distance, "plot": plot}

if __name__ == "__main__":
    started = time.perf_counter()
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
    print(f"{math.ceil((time.perf_counter() - started) / 60)} minutes; {RESULTS}")
