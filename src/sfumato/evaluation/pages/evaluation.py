"""The page of an evaluation: numbers, pictures and charts, with all that they depend on."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from sfumato.evaluation.evaluate import Evaluation
from sfumato.evaluation.measures import MEASURES
from sfumato.evaluation.pages.facts import better, method_facts, number
from sfumato.evaluation.pages.memorisation import memorisation_section
from sfumato.evaluation.report import Report, rounded
from sfumato.pages.charts import Line, interval_chart, line_chart
from sfumato.pages.markup import document, facts, notes, section, sheet, tile

__all__ = ["evaluation_page"]


def evaluation_page(found: Evaluation) -> str:
    """HTML in one file, which loads nothing and runs nothing. Whatever comes from outside is escaped."""
    report = found.report
    making, reference = report.method.making, report.method.reference
    return document(
        f"{making.model}: evaluation",
        [
            '<header><p class="kicker">Evaluation</p>',
            f"<h1>{escape(making.model)}</h1>",
            f"<p>{making.n:,} samples beside {reference.n:,} real pictures of {escape(reference.data)}"
            f"{', which it was trained on' if reference.training else ''}.</p>",
            notes(report.notes),
            "</header>",
            f'<div class="tiles">{"".join(_tiles(report))}</div>',
            _pictures(found),
            _numbers(report),
            _curve(report),
            memorisation_section(report.memorisation, found.looked) if report.memorisation else "",
            _ends(found),
            _losses(report),
            _likelihood(report),
            section(
                "How it was measured",
                "Every number depends on all of this. Numbers compare only where it is the same, but for what is "
                "to be compared.",
                facts(method_facts(report.method, report.numbers)),
            ),
        ],
    )


def _tiles(report: Report) -> Iterator[str]:
    for measure in ("fd", "precision", "recall"):
        found = report.number(measure)
        if found is not None:
            value, low, high = rounded(found.value)
            beside = "" if found.real is None else f"other real pictures: {rounded(found.real)[0]}"
            yield tile(found.name, value, f"{low} to {high}", beside)
    if report.memorisation is not None:
        worst = min(report.memorisation.spaces, key=lambda space: space.chance)
        yield tile(
            "Samples very near training pictures",
            f"{worst.share.value:.1%}",
            f"{worst.share.low:.1%} to {worst.share.high:.1%}, in {worst.space}",
            f"real pictures: {worst.real_share:.1%}",
        )
    if report.likelihood is not None:
        bits = report.likelihood.bits
        yield tile("Bits per dimension", f"{bits.value:.3f}", f"± {bits.error:.3f}", report.likelihood.data)


def _pictures(found: Evaluation) -> str:
    making = found.report.method.making
    count = len(found.samples)
    both = [
        f"<figure>{sheet(found.samples, f'{count} samples', generated=True)}<figcaption>Samples, seeds "
        f"{making.first_seed} to {making.first_seed + count - 1}, none chosen</figcaption></figure>",
        f"<figure>{sheet(found.real, f'{len(found.real)} real pictures')}<figcaption>Real pictures of the reference, "
        "none chosen</figcaption></figure>",
    ]
    return section("Samples and real pictures", "", f'<div class="halves">{"".join(both)}</div>')


def _numbers(report: Report) -> str:
    rows = []
    for found in report.numbers:
        measure = MEASURES[found.measure]
        parts = [("one", found.value.value, found.value.low, found.value.high)]
        if found.real is not None:
            parts.append(("two", found.real.value, found.real.low, found.real.high))
        ends = [end for _, _, low, high in parts for end in (low, high)]
        rows.append(
            f'<tr><td class="what"><b>{escape(found.name)} <span class="best">{better(found.measure)}</span></b>'
            f'<span>{escape(measure.means)}</span></td><td data-name="Samples">{number(found.value)}</td>'
            f'<td data-name="Other real pictures">{number(found.real)}</td>'
            f"<td>{interval_chart(parts, min(ends), max(ends))}</td></tr>"
        )
    head = (
        '<thead><tr><th>Measure</th><th><i class="key one"></i>Samples</th>'
        '<th><i class="key two"></i>Other real pictures</th><th></th></tr></thead>'
    )
    return section(
        "The numbers",
        "Each beside what as many other real pictures get: more than that cannot be asked for. Below each number is "
        "where it would lie with other pictures of the same kind.",
        f"<table>{head}<tbody>{''.join(rows)}</tbody></table>",
    )


def _curve(report: Report) -> str:
    if not report.curve:
        return ""
    steps = [point.method.making.steps for point in report.curve]
    values = [point.value for point in report.curve]
    lines = [
        Line(
            "samples", steps, [v.value for v in values], [v.low for v in values], [v.high for v in values], marked=True
        )
    ]
    real = report.numbers[0].real
    if real is not None and len(steps) > 1:
        ends = [steps[0], steps[-1]]
        lines.append(Line("other real pictures", ends, [real.value] * 2, [real.low] * 2, [real.high] * 2, "two"))
    name = report.curve[0].name
    chart = line_chart(lines, "steps of the solver", name, f"{name} by steps of the solver", log=True, at=steps)
    rows = "".join(
        f'<tr><td data-name="Steps">{count}</td><td data-name="{escape(name)}">{number(value)}</td></tr>'
        for count, value in zip(steps, values, strict=True)
    )
    table = f"<table><thead><tr><th>Steps</th><th>{escape(name)}</th></tr></thead><tbody>{rows}</tbody></table>"
    return section(
        f"{name} by steps",
        "The same seeds, labels and reference each time; lower is better.",
        f'<div class="halves">{chart}<div>{table}</div></div>',
    )


def _ends(found: Evaluation) -> str:
    both = [
        f"<figure>{sheet(pictures, f'{len(pictures)} samples', columns=4, generated=True)}"
        f"<figcaption>{what}</figcaption></figure>"
        for pictures, what in ((found.usual, "nearest to a real picture"), (found.unusual, "farthest from all"))
    ]
    return section(
        "The most and the least usual samples",
        "By the distance of features to the nearest picture of the reference.",
        f'<div class="halves">{"".join(both)}</div>',
    )


def _losses(report: Report) -> str:
    if not report.losses:
        return ""
    lines = []
    for loss, style in zip(report.losses, ("one", "two"), strict=False):
        errors = [error.error for error in loss.errors]
        name = f"{loss.pictures.n} pictures of {loss.pictures.data}"
        lines.append(
            Line(
                name if not loss.pictures.training else f"{name} (training)",
                [error.t for error in loss.errors],
                [e.value for e in errors],
                [e.low for e in errors],
                [e.high for e in errors],
                style,
            )
        )
    first = report.losses[0].errors
    lines.append(
        Line("knowing only mean and variance", [e.t for e in first], [e.trivial for e in first], style="three")
    )
    says = "Error of denoising by time, beside a denoiser that knows only mean and variance"
    return section(
        "Denoising by time",
        "Mean squared error of the picture that the network sees in a noisy one; t = 0 is the picture, t = 1 is noise. "
        f"Without guidance; the network is told of each picture: {report.losses[0].told}. Its gain over the dashed "
        "line is what it has learned.",
        line_chart(lines, "time t", "mean squared error", says, at=(0, 0.25, 0.5, 0.75, 1)),
    )


def _likelihood(report: Report) -> str:
    found = report.likelihood
    if found is None:
        return ""
    rows = [("Bits per dimension", f"{found.bits.value:.4f} ± {found.bits.error:.4f} (one standard error)")]
    rows += [(name, f"{part.value:.4f} ± {part.error:.4f}") for name, part in found.parts.items()]
    rows += [
        ("Pictures", f"{found.n:,} of {found.pictures:,} of {found.data}; fingerprint {found.data_fingerprint}"),
        ("Told", f"the network is told {found.told}"),
        ("Method", f"{found.method}, {found.steps} steps, {found.calls} network calls a picture, seed {found.seed}"),
        *((str(key), str(value)) for key, value in found.settings.items()),
    ]
    return section("Likelihood", "What the model needs, at most, to write a picture down.", facts(rows))
