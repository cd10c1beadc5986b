"""The part of a page that tells of copies."""

from __future__ import annotations

from html import escape

import numpy as np

from sfumato.evaluation.intervals import Interval
from sfumato.evaluation.memorisation import Memorisation, Nearness
from sfumato.evaluation.search import Looked
from sfumato.pages.charts import Line, line_chart
from sfumato.pages.markup import section, sheet

__all__ = ["memorisation_section"]

POINTS = 200  # of a curve of distances


def memorisation_section(found: Memorisation, looked: tuple[Looked, ...]) -> str:
    """What was found, the nearest pairs, and all distances."""
    lead = f"Is it the training pictures that come back? {found.baseline}"
    if found.duplicates:
        lead += f" {found.duplicates} training pictures equal another and are left out."
    parts = [_space(space, look) for space, look in zip(found.spaces, looked, strict=True)]
    return section("Memorisation", lead, *parts)


def _space(space: Nearness, look: Looked) -> str:
    rows = [
        (
            "As near to a training picture as only the nearest real pictures are",
            _percent(space.share),
            f'<span class="value">{space.real_share:.1%}</span>',
        ),
        (
            "Authentic: farther from its training picture than that one is from its nearest other",
            _percent(space.authenticity),
            _percent(space.real_authenticity),
        ),
    ]
    body = "".join(
        f'<tr><td class="what">{escape(name)}</td><td data-name="Samples">{share}</td>'
        f'<td data-name="Real pictures">{real}</td></tr>'
        for name, share, real in rows
    )
    pairs = "".join(
        f"<figure>{_pair(sample, training, pair.seed)}<figcaption>seed {pair.seed}, training picture "
        f"{pair.training}: {pair.distance:.4g}</figcaption></figure>"
        for pair, sample, training in zip(space.nearest, look.samples, look.training, strict=True)
    )
    share = np.linspace(0, 1, POINTS + 1)
    lines = [
        Line(name, np.quantile(distances, share).tolist(), share.tolist(), style=style)
        for name, distances, style in (
            ("samples", look.copies.distance, "one"),
            ("real pictures", look.copies.held_out_distance, "two"),
        )
    ]
    chart = line_chart(
        lines,
        f"distance to the nearest training picture, in {space.space}",
        "share that is nearer",
        f"Share of samples and of real pictures by distance to the nearest training picture, in {space.space}",
    )
    head = "<thead><tr><th></th><th>Samples</th><th>Real pictures</th></tr></thead>"
    return (
        f"<h3>In {escape(space.space)}</h3><p>{escape(space.verdict)}</p>"
        f'<div class="halves"><div><table>{head}<tbody>{body}</tbody></table></div>{chart}</div>'
        f"<h4>The nearest pairs: sample on the left, training picture on the right, and their distance</h4>"
        f'<div class="pairs">{pairs}</div>'
    )


def _percent(share: Interval) -> str:
    return (
        f'<span class="value">{share.value:.1%}</span><span class="interval">{share.low:.1%} to {share.high:.1%}</span>'
    )


def _pair(sample: np.ndarray, training: np.ndarray, seed: int) -> str:
    both = np.stack([sample, training])
    return sheet(both, f"sample of seed {seed} beside a training picture", columns=2, generated=True)
