"""Charts as SVG, for a page that loads nothing: lines with bands, and intervals on a common scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "interval_chart", "line_chart", "ticks"]

WIDTH, HEIGHT = 520, 290
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 46


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
    lines: Sequence[Line], across: str, up: str, says: str, *, log: bool = False, at: Sequence[float] = ()
) -> str:
    """An SVG of lines.

    Args:
        lines: what to draw.
        across, up: names of the axes.
        says: what is to be seen, for those who cannot see it.
        log: the axis across is logarithmic.
        at: where the axis across is labelled, which lie on it; default: round numbers.
    """
    xs = [value for line in lines for value in line.x]
    ys = [value for line in lines for part in (line.y, line.low, line.high) for value in part]
    marks = ticks(min(0.0, *ys), max(ys))
    left, right = min([*xs, *at]), max([*xs, *at])
    bottom, top = min(marks[0], *ys), max(marks[-1], *ys)
    x = _scale(left, right, LEFT, WIDTH - RIGHT, log)
    y = _scale(bottom, top, HEIGHT - BOTTOM, TOP)
    body = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(m):.1f}" y2="{y(m):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(m) + 4:.1f}" text-anchor="end">{m:g}</text>'
        for m in marks
    ]
    body += [
        f'<text x="{x(m):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{m:g}</text>'
        for m in at or [m for m in ticks(left, right) if left <= m <= right]
    ]
    body.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(across)}</text>"
        f'<text class="axis" x="14" y="{(TOP + HEIGHT - BOTTOM) / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2:.0f})">{escape(up)}</text>'
    )
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


def _points(pairs: Sequence[tuple[float, float]], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in pairs)
