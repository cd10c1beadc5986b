"""The page of a comparison: both sides' numbers, and pictures of the same seeds."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from sfumato.evaluation.compare import Compared
from sfumato.evaluation.comparison import Comparison, differing
from sfumato.evaluation.measures import MEASURES
from sfumato.evaluation.pages.facts import better, fewer, making_facts, number, real_facts
from sfumato.evaluation.report import rounded
from sfumato.pages.charts import interval_chart
from sfumato.pages.markup import document, facts, notes, section, sheet

__all__ = ["comparison_page"]


def comparison_page(found: Compared) -> str:
    """HTML in one file, which loads nothing and runs nothing. Whatever comes from outside is escaped."""
    comparison = found.comparison
    a, b = comparison.a.making, comparison.b.making
    title = a.model if a.model == b.model else f"{a.model} and {b.model}"
    seeds = f"seeds {a.first_seed} to {a.first_seed + len(found.a) - 1}, none chosen"
    grids = "".join(
        f"<figure>{sheet(pictures, f'{len(pictures)} samples of {side}', generated=True)}"
        f"<figcaption>{side}: {escape(making.model)}, {escape(making.solver)}, {making.steps} steps; {seeds}"
        "</figcaption></figure>"
        for side, making, pictures in (("A", a, found.a), ("B", b, found.b))
    )
    apart, reference = rounded(comparison.apart), comparison.a.reference
    return document(
        f"{title}: comparison",
        [
            '<header><p class="kicker">Comparison</p>',
            f"<h1>{escape(title)}</h1>",
            f"<p>{a.n:,} samples each, of the same seeds, beside the same {reference.n:,} real pictures of "
            f"{escape(reference.data)}.</p>",
            notes(comparison.notes),
            "</header>",
            section("What differs", "", _differing(comparison)),
            section("The numbers", _lead(comparison), _numbers(comparison)),
            section(
                "The same seeds",
                f"Pictures of equal seeds are {apart[0]} levels of 255 apart ({apart[1]} to {apart[2]}; root mean "
                "square, averaged over pictures).",
                f'<div class="halves">{grids}</div>',
            ),
            section(
                "How it was measured",
                "",
                f'<div class="halves"><div><h3>A</h3>{facts(making_facts(a))}</div>'
                f"<div><h3>B</h3>{facts(making_facts(b))}</div></div><h3>Both</h3>"
                f"{facts(_both(comparison))}",
            ),
        ],
    )


def _both(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield from real_facts(comparison.a, comparison.differences[0].difference)
    yield from fewer({found.name: found.difference for found in comparison.differences})


def _lead(comparison: Comparison) -> str:
    beyond = sum(difference.beyond_noise for difference in comparison.differences)
    return (
        f"Of {len(comparison.differences)} differences {beyond} are beyond noise. Each draw takes the same seeds and "
        "the same real pictures for both sides, so a difference may be certain where the intervals of A and B overlap. "
        "Of twenty differences that are none, one is called so by luck."
    )


def _differing(comparison: Comparison) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td data-name="A">{escape(_short(a))}</td>'
        f'<td data-name="B">{escape(_short(b))}</td></tr>'
        for name, a, b in differing(comparison.a.making, comparison.b.making)
    )
    return f"<table><thead><tr><th></th><th>A</th><th>B</th></tr></thead><tbody>{rows}</tbody></table>"


def _short(value: str) -> str:
    """A hash by its beginning: the whole is told below."""
    return f"{value[:12]}…" if len(value) == 64 else value


def _numbers(comparison: Comparison) -> str:
    rows = []
    for found in comparison.differences:
        ends = [found.a.low, found.a.high, found.b.low, found.b.high]
        parts = [("one", found.a.value, found.a.low, found.a.high), ("two", found.b.value, found.b.low, found.b.high)]
        kind = "beyond" if found.beyond_noise else "within"
        rows.append(
            f'<tr><td class="what"><b>{escape(found.name)} <span class="best">{better(found.measure)}</span></b>'
            f'<span>{escape(MEASURES[found.measure].means)}</span></td><td data-name="A">{number(found.a)}</td>'
            f'<td data-name="B">{number(found.b)}</td><td data-name="A less B">{number(found.difference)}</td>'
            f'<td><span class="{kind}">{escape(found.verdict)}</span>{interval_chart(parts, min(ends), max(ends))}</td>'
            "</tr>"
        )
    head = (
        '<thead><tr><th>Measure</th><th><i class="key one"></i>A</th><th><i class="key two"></i>B</th>'
        "<th>A less B</th><th></th></tr></thead>"
    )
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"
