"""The page of a run: how it went, what it made, and whether it fell into a pitfall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from sfumato.generation.provenance import MARK
from sfumato.images import fit
from sfumato.pages.charts import Line, heat_map, line_chart, short
from sfumato.pages.markup import document, facts, image, notes, section, tile
from sfumato.training.history import History

__all__ = ["history_page", "thinned"]

POINTS = 240  # of a line at most
COLUMNS = 60  # of a heat map at most
SHEETS = 6  # of samples at most
WIDEST = 640  # pixels of a sheet
MACHINE = (("rate", "pictures/s"), ("memory_mb", "largest memory, MB"))
STEPS = (("grad_norm", "largest norm of the gradient"), ("lr", "learning rate"))
KNOWN = {"pictures", "loss", *dict(MACHINE), *dict(STEPS)}


def history_page(history: History) -> str:
    """HTML in one file, which loads nothing and runs nothing. Whatever comes from outside is escaped."""
    warned = [f"At {seen:,} pictures: {text}" for seen, text in history.warnings()]
    if history.unreadable:
        warned.append(f"{history.unreadable:,} lines of log.jsonl cannot be read and are left out.")
    name = history.folder.resolve().name
    return document(
        f"{name}: training",
        [
            '<header><p class="kicker">Training</p>',
            f"<h1>{escape(name)}</h1>",
            f"<p>{escape(_state(history))}</p>",
            notes(warned),
            "</header>",
            f'<div class="tiles">{"".join(_tiles(history))}</div>',
            _samples(history),
            _loss(history),
            _by_time(history),
            _charts(history, "Steps", "", STEPS),
            _charts(history, "Parts of the loss", "", _parts(history)),
            _charts(history, "Machine", "In each sitting, counted from its beginning.", MACHINE),
            section("Settings", "All that the run was started with.", facts(_flat(history.config))),
        ],
    )


def thinned(x: Sequence[float], y: Sequence[float], name: str, style: str = "one") -> Line:
    """A line of at most `POINTS` points: means of neighbours, within a band from the least of them to the largest."""
    each = -(-len(x) // POINTS)
    groups = [range(i, min(i + each, len(x))) for i in range(0, len(x), each)]
    if each == 1:
        return Line(name, x, y, style=style, marked=len(x) == 1)
    parts = [[y[i] for i in group] for group in groups]
    return Line(
        name,
        [x[group[-1]] for group in groups],
        [sum(part) / len(part) for part in parts],
        [min(part) for part in parts],
        [max(part) for part in parts],
        style,
    )


def _state(history: History) -> str:
    told = f"{history.seen:,} of {history.asked:,} pictures of {history.config.get('data')}. "
    if history.going:
        return f"{told}It is going on as this is written."
    if history.seen >= history.asked:
        return f"{told}It is finished."
    return f"{told}It was interrupted. Go on with: sfumato {history.verb} --out {history.folder} --resume"


def _tiles(history: History) -> Iterator[str]:
    seen, losses = history.series("loss")
    if losses:
        lines = history.by_time()
        beside = ""
        if lines and lines[-1][0] == seen[-1]:
            beside = f"the trivial predictor: {_mean(lines[-1][1], 'trivial'):.4g}"
        yield tile("Loss at the end", f"{losses[-1]:.4g}", f"at first: {losses[0]:.4g}", beside)
    seconds = history.facts.get("seconds")
    if isinstance(seconds, int | float):
        rate = f"{history.seen / seconds:,.0f} pictures/s" if seconds > 0 else ""
        yield tile("Time", f"{seconds / 60:,.0f} min" if seconds < 36_000 else f"{seconds / 3600:,.1f} h", rate)
    _, memory = history.series("memory_mb")
    if memory:
        yield tile("Memory", f"{max(memory):,.0f} MB", "the most that was taken")
    count = sum(1 for _ in history.warnings())
    yield tile("Warnings", str(count) if count else "none")


def _samples(history: History) -> str:
    """The last sheet, and some of those before it, evenly spaced."""
    shown = []
    for index in sorted({round(i) for i in np.linspace(0, len(history.sheets) - 1, SHEETS)}) if history.sheets else ():
        seen, path = history.sheets[index]
        try:
            with Image.open(path) as file:
                marked = all(file.info.get(key) == value for key, value in MARK.items())
                pixels = np.asarray(file.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # half written when the machine lost power
        scale = WIDEST / max(pixels.shape[:2])
        if scale < 1:
            height, width = pixels.shape[:2]
            pixels = fit(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
        drawn = image(pixels, f"Sheet made at {seen:,} pictures", max(1.0, 320 / pixels.shape[1]), marked)
        shown.append(f"<figure>{drawn}<figcaption>at {seen:,} pictures</figcaption></figure>")
    if not shown:
        return ""
    lead = "The same seeds each time, so that one sees them grow; the last is first."
    return section("Samples", lead, f'<div class="sheets">{"".join(reversed(shown))}</div>')


def _loss(history: History) -> str:
    seen, losses = history.series("loss")
    if not losses:
        return section("Loss", "The log has no line yet.")
    lines = [thinned(seen, losses, "loss")]
    by_time = history.by_time()
    if by_time:
        trivial = [_mean(means, "trivial") for _, means in by_time]
        lines.append(thinned([count for count, _ in by_time], trivial, "trivial predictor", "three"))
    positive = all(value > 0 for line in lines for part in (line.y, line.low) for value in part)
    lead = "The trivial predictor knows only the data's mean and variance." if by_time else ""
    chart = line_chart(lines, "pictures seen", "loss", "Loss by pictures seen", log_up=positive)
    return section("Loss", lead, chart)


def _by_time(history: History) -> str:
    """Which noise levels are learned, and when: the picture that tells whether training works."""
    lines = history.by_time()
    if not lines:
        return ""
    (first_seen, first), (last_seen, last) = lines[0], lines[-1]
    drawn = []
    for name, means, style in (
        (f"at {short(last_seen)} pictures", last, "one"),
        (f"at {short(first_seen)}", first, "two"),
    ):
        gains = [(t, gain) for t, gain in _gains(means) if gain is not None]
        if gains and (style == "one" or len(lines) > 1):
            drawn.append(Line(name, [t for t, _ in gains], [gain for _, gain in gains], style=style, marked=True))
    each = -(-len(lines) // COLUMNS)
    columns = [(seen, [gain for _, gain in _gains(means)]) for seen, means in lines[each - 1 :: each]]
    across = "time t: 0 is the picture, 1 is noise"
    says = "Share of the trivial predictor's loss that is gone, by time"
    charts = line_chart(drawn, across, "gain", says, at=(0, 0.25, 0.5, 0.75, 1)) if drawn else ""
    if len(columns) > 1:
        charts += heat_map(columns, "pictures seen", "time t", f"{says} and by pictures seen")
    return section(
        "Loss by time",
        "The gain: which share of the trivial predictor's loss is gone, at each noise level. 1 would be a perfect "
        "prediction, which noise does not allow; at 0 nothing is learned, and below (the other colour) it is worse "
        "than knowing only mean and variance. A band that stays pale is a noise level that is not learned.",
        f'<div class="halves">{charts}</div>',
    )


def _gains(means: Mapping[str, Sequence[float | None]]) -> Iterator[tuple[float, float | None]]:
    """Middle of each bucket of times, and 1 - loss/trivial; None where there were no pictures or is nothing to gain."""
    count = len(means["loss"])
    for i, (loss, trivial) in enumerate(zip(means["loss"], means["trivial"], strict=True)):
        yield (i + 0.5) / count, None if loss is None or not trivial else max(1 - loss / trivial, -1.0)


def _mean(means: Mapping[str, Sequence[float | None]], name: str) -> float:
    """Over all pictures."""
    pairs = [(n or 0, value or 0) for n, value in zip(means["pictures"], means[name], strict=True)]
    return sum(n * value for n, value in pairs) / max(sum(n for n, _ in pairs), 1)


def _parts(history: History) -> Sequence[tuple[str, str]]:
    """Other numbers of the log: what a loss consists of."""
    names = dict.fromkeys(name for line in history.lines for name in line if name not in KNOWN)
    return [(name, name.replace("_", " ")) for name in names if any(history.series(name)[1])]


def _charts(history: History, title: str, lead: str, names: Sequence[tuple[str, str]]) -> str:
    drawn = []
    for name, up in names:
        seen, values = history.series(name)
        if values:
            drawn.append(line_chart([thinned(seen, values, "")], "pictures seen", up, f"{up} by pictures seen"))
    return section(title, lead, f'<div class="halves">{"".join(drawn)}</div>') if drawn else ""


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Options as on the command line, with those of groups after a dot."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, "–" if value is None else str(value)
