"""Charts as SVG, for a page that loads nothing: lines with bands, intervals on a common scale, and heat maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "decades", "heat_map", "interval_chart", "line_chart", "short", "ticks"]

WIDTH, HEIGHT = 520, 290
LEFT, RIGHT, TOP, BOTTOM = 74, 16, 14, 46


@dataclass(frozen=True)
class Line:
    """Points to be joined.

    Attributes:
        name: in the legend.
        x, y: of the points, x rising.
        low, high: of the band around them; empty for none.
        style: class of the colour: "one", "two" or "three".
        marked: whether each point has a dot.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    style: str = "one"
    marked: bool = False


def line_chart(
    lines: Sequence[Line],
    across: str,
    up: str,
    says: str,
    *,
    log: bool = False,
    log_up: bool = False,
    at: Sequence[float] = (),
) -> str:
    """An SVG of lines.

    Args:
        lines: what to draw.
        across, up: names of the axes.
        says: what is to be seen, for those who cannot see it.
        log, log_up: the axis across, or the other, is logarithmic.
        at: where the axis across is labelled, which lie on it; default: round numbers.
    """
    xs = [value for line in lines for value in line.x]
    ys = [value for line in lines for part in (line.y, line.low, line.high) for value in part]
    marks = decades(min(ys), max(ys)) if log_up else ticks(min(0.0, *ys), max(ys))
    left, right = min([*xs, *at]), max([*xs, *at])
    bottom, top = min([*marks[:1], *ys]), max([*marks[-1:], *ys])
    x = _scale(left, right, LEFT, WIDTH - RIGHT, log)
    y = _scale(bottom, top, HEIGHT - BOTTOM, TOP, log_up)
    body = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(m):.1f}" y2="{y(m):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(m) + 4:.1f}" text-anchor="end">{short(m)}</text>'
        for m in marks
    ]
    body += [
        f'<text x="{x(m):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short(m)}</text>'
        for m in at or [m for m in ticks(left, right) if left <= m <= right]
    ]
    body += _names(across, up)
    for line in lines:
        style = escape(line.style)
        if line.low:
            edge = [*zip(line.x, line.high, strict=True), *reversed([*zip(line.x, line.low, strict=True)])]
            body.append(f'<polygon class="band {style}" points="{_points(edge, x, y)}"/>')
        pairs = [*zip(line.x, line.y, strict=True)]
        body.append(f'<polyline class="line {style}" points="{_points(pairs, x, y)}"/>')
        if line.marked:
            body += [f'<circle class="dot {style}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5"/>' for a, b in pairs]
    legend = "".join(
        f'<span><i class="key {escape(line.style)}"></i>{escape(line.name)}</span>' for line in lines if line.name
    )
    return (
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(says)}">'
        f'{"".join(body)}</svg><figcaption class="legend">{legend}</figcaption></figure>'
    )


def interval_chart(parts: Sequence[tuple[str, float, float, float]], low: float, high: float) -> str:
    """A small SVG of numbers with their intervals, a line each, on the scale from low to high.

    `parts` are (style, value, low, high).
    """
    width, step = 150, 10
    scale = _scale(low, high if high > low else low + 1, 4, width - 4)
    body = []
    for row, (style, value, least, most) in enumerate(parts):
        y, kind = step * row + 7, escape(style)
        body.append(
            f'<line class="range {kind}" x1="{scale(least):.1f}" x2="{scale(most):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot {kind}" cx="{scale(value):.1f}" cy="{y}" r="3"/>'
        )
    height = step * len(parts) + 4
    return f'<svg class="ranges" viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(body)}</svg>'


def heat_map(columns: Sequence[tuple[float, Sequence[float | None]]], across: str, up: str, says: str) -> str:
    """An SVG of cells, each the darker the nearer its value is to 1; below 0 they have another colour, None has none.

    Args:
        columns: where each begins on the axis across, rising, and its values from below, all as many. The last ends
            where it would with the width of the one before.
        across, up: names of the axes; the axis up goes from 0 to 1.
        says: what is to be seen, for those who cannot see it.
    """
    starts = [start for start, _ in columns]
    end = starts[-1] + (starts[-1] - starts[-2] if len(starts) > 1 else 1.0)
    x, y = _scale(starts[0], end, LEFT, WIDTH - RIGHT), _scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    body = []
    for (start, values), stop in zip(columns, [*starts[1:], end], strict=True):
        for row, value in enumerate(values):
            if value is None:
                continue
            kind, top = "less" if value < 0 else "more", y((row + 1) / len(values))
            body.append(
                f'<rect class="cell {kind}" x="{x(start):.1f}" y="{top:.1f}" width="{x(stop) - x(start):.2f}" '
                f'height="{y(row / len(values)) - top:.2f}" fill-opacity="{min(abs(value), 1.0):.2f}"/>'
            )
    body += [
        f'<text x="{LEFT - 8}" y="{y(m) + 4:.1f}" text-anchor="end">{short(m)}</text>' for m in (0, 0.25, 0.5, 0.75, 1)
    ]
    body += [
        f'<text x="{x(m):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short(m)}</text>'
        for m in ticks(starts[0], end)
        if starts[0] <= m <= end
    ]
    body += _names(across, up)
    return (
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(says)}">'
        f"{''.join(body)}</svg></figure>"
    )


def short(value: float) -> str:
    """A number beside an axis: 250000 is 250k, 1500000 is 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def decades(low: float, high: float) -> list[float]:
    """Round numbers around 0 < low … high on a logarithmic axis: powers of ten, with 2 and 5 times them if few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    found = [float(f"{m}e{power}") for power in range(first, last + 1) for m in factors]
    start = max(i for i, value in enumerate(found) if value <= low)
    end = min(i for i, value in enumerate(found) if value >= high)
    return found[start : end + 1]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers around low … high, about `count` of them, steps of 1, 2 or 5 times a power of ten."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float, log: bool = False) -> Callable[[float], float]:
    bend = math.log if log else float
    first, last = bend(low), bend(high)
    span = last - first or 1.0
    return lambda value: start + (bend(value) - first) / span * (end - start)


def _names(across: str, up: str) -> list[str]:
    """Of the axes."""
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return [
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(across)}</text>",
        f'<text class="axis" x="14" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 14 {middle:.0f})">'
        f"{escape(up)}</text>",
    ]


def _points(pairs: Sequence[tuple[float, float]], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in pairs)
