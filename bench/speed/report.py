"""Results as Markdown tables, and the page that holds them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from bench.speed.timing import OURS

__all__ = ["filled", "text"]

MARKED = re.compile(r"(<!-- speed: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, results: Mapping[str, dict]) -> str:
    """The page with what stands between `<!-- speed: WORKLOAD -->` and `<!-- end -->` made anew.

    A workload that is not in the results stays as it is. `conditions` stands for what was measured on.
    """

    def block(found: re.Match[str]) -> str:
        name = found[2]
        if name != "conditions" and name not in results:
            return found[0]
        inside = conditions(results) if name == "conditions" else section(name, results[name])
        return f"{found[1]}\n{inside}\n\n{found[3]}"

    return MARKED.sub(block, page)


def text(results: Mapping[str, dict]) -> str:
    """All of it, for a terminal."""
    sections = (f"## {name}\n\n{section(name, found)}" for name, found in results.items())
    return "\n\n".join([conditions(results), *sections])


def conditions(results: Mapping[str, dict]) -> str:
    """What the workloads were measured on: once where it was the same for all."""
    groups: dict[str, list[str]] = {}
    for name, found in results.items():
        groups.setdefault(_machine(found), []).append(name)
    lines = [f"- {', '.join(names)}: {what}" if len(groups) > 1 else what for what, names in groups.items()]
    return "\n".join(lines)


def _machine(found: Mapping) -> str:
    facts = dict(found["machine"])
    known = [f"{facts.pop('processor')}, {facts.pop('cpus')} CPUs with {', '.join(facts.pop('extensions')) or 'none'}"]
    known.append(facts.pop("system"))
    compiler = facts.pop("compiler")
    known += [f"{name} {version}" for name, version in facts.items()]
    kernels = f"kernels compiled by {compiler}" if compiler else "no kernels: there is no compiler for them"
    return f"{found['date']}: {'; '.join([*known, kernels])}."


def section(name: str, found: Mapping) -> str:
    """The tables of one workload."""
    make: Callable[[list[dict]], str] = {"overhead": overhead, "peaks": peaks, "profile": profile}.get(name, timed)
    sizes = dict.fromkeys(_sizes(row) for row in found["rows"] if "sizes" in row)
    return "\n\n".join([*sizes, make(found["rows"]), f"`{found['command']}`"])


def _sizes(row: Mapping) -> str:
    told: dict[str, list[str]] = {}
    for side, size in row["sizes"].items():
        what = (
            f"{size['parameters'] / 1e6:.2f} M parameters, {size['multiply_adds'] / 1e9:.3g} G multiply-adds a picture"
        )
        told.setdefault(what, []).append(side)
    sides = "; ".join(f"{' and '.join(names)}: {what}" for what, names in told.items())
    return f"{row['case'].partition(',')[0]}: {sides}."


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def timed(rows: list[dict]) -> str:
    """A line for every side of every case."""
    lines = []
    for row in rows:
        for name, side in row["sides"].items():
            away = row.get("differences", {}).get(name)
            lines.append(
                [
                    row["case"] if name == OURS else "",
                    str(row["threads"]) if name == OURS else "",
                    name,
                    seconds(side["median_s"]),
                    seconds(side["fastest_s"]),
                    ratio(side),
                    "" if away is None else f"{away:.0e}",
                    load(row) if name == OURS else "",
                ]
            )
    head = ["case", "threads", "who", "median", "fastest", "times ours (quartiles)", "difference", "others' CPUs"]
    return table(head, lines)


def overhead(rows: list[dict]) -> str:
    """A line for every solver: µs of ours at each shape, and how many times as long the others take."""
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    found: dict[str, dict[str, dict]] = {}
    for row in rows:
        found.setdefault(row["solver"], {})[row["shape"]] = row["sides"]
    lines = []
    for solver, sides in found.items():
        line = [solver]
        for shape in shapes:
            side = sides[shape]
            line.append(f"{side[OURS]['median_s'] * 1e6:.1f}")
            line += [f"{side[name]['ratio']:.2f}" if name in side else "" for name in ("arithmetic", "diffusers")]
        lines.append(line)
    head = ["solver", *(word for shape in shapes for word in (f"{shape}: ours, µs", "arithmetic", "diffusers"))]
    busy = [row["others_cpus"] for row in rows if "others_cpus" in row]
    note = f"\n\nOthers' CPUs meanwhile: up to {max(busy):.1f}." if busy else ""
    return table(head, lines) + note


def peaks(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        for name, side in row["sides"].items():
            above, whole = (f"{side[key]:.2f}" if key in side else "" for key in ("ratio", "whole_ratio"))
            numbers = [f"{side['peak_mib']:.0f}", above, f"{side['whole_mib']:.0f}", whole]
            lines.append([row["case"] if name == OURS else "", name, *numbers])
    head = ["case", "who", "MiB above imports", "times ours", "MiB of the process", "times ours"]
    return table(head, lines)


def profile(rows: list[dict]) -> str:
    """A column for every case: what its time went to, and how far it is from the bound."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["kinds"]))
    totals = [sum(row["kinds"].values()) for row in rows]
    shares = [[f"{row['kinds'][kind] / total:.0%}" for row, total in zip(rows, totals, strict=True)] for kind in kinds]
    lines = [[kind, *line] for kind, line in zip(kinds, shares, strict=True)]
    work = [row["multiply_adds"] for row in rows]
    bounds = [counts["ours"] / row["product_speed"] for counts, row in zip(work, rows, strict=True)]
    taken = [row["seconds"] for row in rows]
    lines += [
        ["multiply-adds, directly", *(f"{counts['direct'] / 1e9:.1f} G" for counts in work)],
        ["multiply-adds, as done", *(f"{counts['ours'] / 1e9:.1f} G" for counts in work)],
        ["multiply-adds a second of a product", *(f"{row['product_speed'] / 1e9:.1f} G" for row in rows)],
        ["bound", *map(seconds, bounds)],
        ["taken", *(seconds(sides[OURS]) for sides in taken)],
        ["diffusers, times ours", *(f"{sides['diffusers'] / sides[OURS]:.2f}" for sides in taken)],
        ["diffusers, times the bound", *(f"{s['diffusers'] / b:.2f}" for s, b in zip(taken, bounds, strict=True))],
    ]
    return table(["", *(row["case"] for row in rows)], lines)


def seconds(value: float) -> str:
    """Three digits, in a unit that fits."""
    unit, factor = next(((u, f) for u, f in (("s", 1.0), ("ms", 1e3)) if value * f >= 1), ("µs", 1e6))
    digits = max(0, 2 - math.floor(math.log10(value * factor)))
    return f"{value * factor:.{digits}f} {unit}"


def ratio(side: Mapping) -> str:
    if "ratio" not in side:
        return ""
    low, high = side["quartiles"]
    return f"{side['ratio']:.2f} ({low:.2f} … {high:.2f})"


def load(row: Mapping) -> str:
    return f"{row['others_cpus']:.1f}" if "others_cpus" in row else f"load {row['load_average_before']:.1f}"
