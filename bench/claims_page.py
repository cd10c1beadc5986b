"""docs/claims.md from bench/results/claims.json: the tables, and for each claim what they say about it."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["page"]

NAMES = {"ddim": "DDIM", "default": "default", "ddpm": "ancestral", "real": "other real pictures"}
HEAD = """# The claims, measured

That DDIM is as good in 10 to 20 steps as 1000 steps of ancestral sampling, and what the default solver does in fewer,
is measured here on two small models. `make evidence-claims` makes this page and `bench/results/claims.json`, which
holds all that the numbers depend on.
"""


def page(facts: dict) -> str:
    """The page as Markdown."""
    parts = [(model, name, part) for model, of in facts["models"].items() for name, part in of.items()]
    blocks = [(model, name.removeprefix("distances at "), part) for model, name, part in parts if "metric" in part]
    paired = [(model, part["rows"]) for model, _, part in blocks if any("more" in row for row in part["rows"].values())]
    sections = [
        HEAD,
        "## Distances\n",
        _table(*_distances(blocks)),
        *_method(facts, blocks),
        "## What follows\n",
        "**DDIM as good in 10 to 20 steps?**\n",
        *(_verdict(model, rows, "ddim") for model, rows in paired),
        "**The default solver, in fewer?**\n",
        *(_verdict(model, rows, "default") for model, rows in paired),
        "The models are small, and so is what a distance on features of photographs sees of clothes and emoji. That a "
        "sampler comes no nearer to real pictures with more steps says how good the model is as much as how exact the "
        "sampler: [Solvers](solvers.md) has the errors against exact solutions.\n",
        "## Likelihood\n",
        _table(*_bits(facts["models"])),
        *_bits_method(facts["models"]),
    ]
    return "\n".join(sections)


def _distances(blocks: list[tuple[str, str, dict]]) -> tuple[list[str], Iterator[list[str]]]:
    head = ["sampler"]
    for model, n, part in blocks:
        head.append(f"{model}, {n}: {part['metric']}")
        if any("more" in row for row in part["rows"].values()):
            head.append("above ancestral")

    def rows() -> Iterator[list[str]]:
        for name in dict.fromkeys(name for _, _, part in blocks for name in part["rows"]):
            cells = [_said(name)]
            for _, _, part in blocks:
                row = part["rows"].get(name, {})
                cells.append(_interval(row["fd"]) if row else "–")
                if any("more" in other for other in part["rows"].values()):
                    cells.append(_interval(row["more"], sign=True) if "more" in row else "–")
            yield cells

    return head, rows()


def _method(facts: dict, blocks: list[tuple[str, str, dict]]) -> Iterator[str]:
    one = blocks[0][2]
    yield (
        f"{one['metric']}, comparable only at equal n, and not with FID. In brackets: {one['intervals'].split(',')[0]} "
        "intervals, of random halves of the seeds, the same of all samplers, and of the real pictures. *Above "
        "ancestral*: by how much it exceeds the distance of 1000 ancestral steps from the same seeds. DDIM and "
        "ancestral sampling (η = 0 and 1, spacing `trailing`), and the model's own default; guidance scale 1, so a "
        "step is one network call. Labels are drawn as often as the training data has them.\n"
    )
    for model, of in facts["models"].items():
        part = next(part for name, part in of.items() if "metric" in part)
        default = of["model"]["default"]
        yield (
            f"- {model} (weights {of['model']['weights_sha256'][:12]}, default `{default['solver']}`"
            f"{', spacing `' + default['spacing'] + '`' if default['spacing'] else ''}): against {part['reference']}. "
            f"{of['model']['about']}"
        )
    yield ""


def _verdict(model: str, rows: dict, solver: str) -> str:
    """How each number of steps compares with 1000 ancestral ones, in words."""
    ancestral = rows["ddpm-1000"]["fd"]["value"]
    said = []
    for name, row in rows.items():
        kind, _, steps = name.partition("-")
        if kind == solver and "more" in row:
            low, high, value = row["more"]["low"], row["more"]["high"], row["more"]["value"]
            word = (
                "farther from real pictures" if low > 0 else "nearer to real pictures" if high < 0 else "no different"
            )
            said.append(f"{word} at {steps} steps ({value / ancestral:+.0%})")
    return f"- On {model}, than 1000 ancestral steps: {', '.join(said)}.\n"


def _bits(models: dict) -> tuple[list[str], Iterator[list[str]]]:
    head = ["bits per dimension", *(f"{model}, n = {of['bits']['1000 steps']['n']}" for model, of in models.items())]

    def rows() -> Iterator[list[str]]:
        for name in next(iter(models.values()))["bits"]:
            what = "probability-flow ODE" if name == "flow" else f"bound, {name}"
            yield [what, *(_shown(of["bits"][name]) for of in models.values())]

    return head, rows()


def _bits_method(models: dict) -> Iterator[str]:
    yield (
        "± is one standard error over pictures. In parentheses L_0, what the last step, from the least noise to bytes, "
        "costs of it. The bound is that of the ancestral sampler of so many steps, even in t, of variance β̃; with its "
        "decoder as narrow as Ho et al. have it. The flow is measured on dequantised bytes.\n"
    )
    for model, of in models.items():
        flow = of["bits"]["flow"]
        yield f"- {model}: {flow['data']}, the flow on {flow['n']} of them. {of['model']['about']}"
    yield ""


def _table(head: list[str], rows: Iterator[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _said(name: str) -> str:
    kind, _, steps = name.partition("-")
    return f"{NAMES[kind]}, {steps} steps" if steps else NAMES[kind]


def _interval(of: dict, sign: bool = False) -> str:
    value, low, high = (f"{of[key]:+.1f}" if sign else f"{of[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _shown(of: dict) -> str:
    first = f" ({of['parts']['L_0']['value']:.2f})" if of["parts"] else ""
    return f"{of['bits']['value']:.3f} ± {of['bits']['error']:.3f}{first}"
