"""Results as tables and pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from bench.coverage.gaussians import SCALE
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from sfumato.errors import InputError
from sfumato.files import atomic_path, write_text
from sfumato.images import Images
from sfumato.scaling import to_uint8

__all__ = ["Evidence", "draw_curves", "draw_samples", "put_tables", "table"]

Evidence = dict[str, Any]
"""bench/results/coverage.json"""

NAMES = {"dcgan": "DCGAN", "r3gan": "R3GAN-like", "diffusion": "diffusion", "real": "real data"}
COLOURS = {"dcgan": "tab:orange", "r3gan": "tab:green", "diffusion": "tab:blue"}
COLUMNS = {  # heading: (key, digits)
    "modes": ("modes", 0),
    "modes, any sample": ("modes_named", 0),
    "KL(p̂ ‖ u)": ("kl", 3),
    "KL(u ‖ p̂)": ("reverse_kl", 3),
    "good samples": ("good", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "coverage": ("coverage", 3),
    "s per 1000": ("seconds_per_1000", 2),
}


def table(evidence: Evidence, problem: str) -> str:
    """A problem's table in Markdown: the mean over seeds, and the range in brackets."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]

    def add(name: str, seeds: list[dict[str, Any]]) -> None:
        cells = [_cell([found.get(key) for found in seeds], digits) for key, digits in COLUMNS.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    add(NAMES["real"], [evidence["real"][problem]["final"]])
    runs = _runs(evidence, problem)
    for contestant, of_seeds in runs.items():
        for way in of_seeds[0]["final"]:
            name = NAMES[contestant] if len(of_seeds[0]["final"]) == 1 else f"{NAMES[contestant]}, {way}"
            cost = {"seconds_per_1000": evidence["costs"][problem][contestant]["samples"][way]}
            add(name, [{**run["final"][way], **cost} for run in of_seeds])
    return "\n".join(lines)


def _cell(values: list[float | None], digits: int) -> str:
    if len(values) == 1 and values[0] is None:  # drawing real data has no price
        return ""
    numbers = [float("inf") if value is None else value for value in values]
    mean, low, high = (f"{v:.{digits}f}".replace("inf", "∞") for v in (np.mean(numbers), min(numbers), max(numbers)))
    return mean if low == high else f"{mean} ({low}…{high})"


def put_tables(evidence: Evidence, page: Path) -> None:
    """Write each problem's table, and what was trained for it, where the page has the marks for them.

    Raises:
        InputError: the page lacks one of the marks `<!-- NAME -->` and `<!-- end of NAME -->`.
    """
    text = page.read_text("utf-8")
    for problem in evidence["real"]:
        for name, content in (
            (problem, table(evidence, problem)),
            (f"{problem} training", _training(evidence, problem)),
        ):
            mark, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
            if mark not in text or end not in text:
                raise InputError(f"{page} has no place for a table: {mark} … {end}")
            text = re.sub(rf"(?s){mark}.*{end}", lambda _, c=content, m=mark, e=end: f"{m}\n\n{c}\n\n{e}", text)
    write_text(page, text)


def _training(evidence: Evidence, problem: str) -> str:
    """What each contestant is, and what it saw."""
    lines = ["| | parameters | learning rate (tried) | step | steps | samples seen |", "|---" * 6 + "|"]
    for contestant, seeds in _runs(evidence, problem).items():
        first = seeds[0]
        sizes = " + ".join(f"{count:,} {name}" for name, count in first["parameters"].items())
        tried = ", ".join(_choice(choice) for choice in evidence["search"][problem][contestant])
        settings, step = first["settings"], evidence["costs"][problem][contestant]["step"]
        steps, chosen = settings["plan"]["steps"], _choice(settings["choice"])
        seen = f"{1000 * step:.1f} ms | {steps:,} | {steps * settings['batch']:,}"
        lines.append(f"| {NAMES[contestant]} | {sizes} | {chosen} ({tried}) | {seen} |")
    return "\n".join(lines)


def _choice(choice: dict[str, float]) -> str:
    return f"{choice['lr']:g}" + (f", γ {choice['penalty']:g}" if choice["penalty"] else "")


def _runs(evidence: Evidence, problem: str) -> dict[str, list[dict[str, Any]]]:
    """By contestant, the runs of all seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in evidence["runs"]:
        if run["settings"]["problem"] == problem:
            found.setdefault(run["settings"]["contestant"], []).append(run)
    return found


def draw_curves(evidence: Evidence, path: Path) -> None:
    """Modes, KL and losses over the seconds of training, a line for each seed: a PNG file."""
    figure = Figure(figsize=(12, 3.4 * len(evidence["real"])), layout="constrained")
    rows = figure.subplots(len(evidence["real"]), 3, squeeze=False)
    for (modes, kl, losses), (problem, ceiling) in zip(rows, evidence["real"].items(), strict=True):
        for contestant, seeds in _runs(evidence, problem).items():
            for run in seeds:
                curve = run["curve"]
                seconds = [look["steps"] * evidence["costs"][problem][contestant]["step"] for look in curve]
                style = {"color": COLOURS[contestant], "alpha": 0.8, "linewidth": 1.3}
                label = NAMES[contestant] if run is seeds[0] else None
                modes.plot(seconds, [look["modes"] for look in curve], ".-", label=label, **style)
                kl.semilogy(seconds, [look["kl"] for look in curve], ".-", **style)
                for name, line in zip(curve[0]["losses"], ("-", "--", ":"), strict=False):
                    if name != "penalty":
                        values = [look["losses"][name] for look in curve]
                        what = f"{NAMES[contestant]}, {name}" if run is seeds[0] else None
                        losses.semilogy(seconds, values, line, label=what, **style)
        for axes, key, title in ((modes, "modes", "modes with a good sample"), (kl, "kl", "KL(p̂ ‖ u), nats")):
            axes.axhline(ceiling["look"][key], color="black", linestyle="--", linewidth=1, label="real data")
            axes.set_title(f"{problem}: {title}, n = {ceiling['look']['n']:,}", fontsize=10)
        losses.set_title(f"{problem}: losses", fontsize=10)
        for axes in (modes, kl, losses):
            axes.set(xlabel="seconds of training")
            axes.grid(alpha=0.3)
        modes.legend(fontsize="small")
        losses.legend(fontsize="x-small")
    _save(figure, path)


def draw_samples(samples: dict[str, dict[str, Tensor]], path: Path) -> None:
    """By problem and source, samples: points in the plane, or pictures. A PNG file."""
    columns = max(len(sources) for sources in samples.values())
    figure = Figure(figsize=(3 * columns, 3.2 * len(samples)), layout="constrained")
    rows = figure.subplots(len(samples), columns, squeeze=False)
    for row, (problem, sources) in zip(rows, samples.items(), strict=True):
        for axes, (source, drawn) in zip(row, sources.items(), strict=True):
            _show(axes, drawn)
            axes.set(title=f"{problem}: {NAMES[source]}", xticks=[], yticks=[])
    _save(figure, path)


def _show(axes: Axes, samples: Tensor) -> None:
    if samples.ndim == 2:
        axes.plot(*(samples.numpy().T * SCALE), ".", markersize=1.5, color="black")
        axes.set(xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
    else:
        axes.imshow(Images(to_uint8(samples)).grid(columns=8), interpolation="nearest")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
