"""What an evaluation found: numbers that cannot be without what they depend on, as text and as JSON."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.evaluation.denoising import LossByTime
from sfumato.evaluation.intervals import Interval
from sfumato.evaluation.likelihood import Estimate, Likelihood
from sfumato.evaluation.memorisation import Memorisation
from sfumato.evaluation.method import Method
from sfumato.files import write_text
from sfumato.typed import build

__all__ = ["Number", "Report", "drawn_line", "how_lines", "rounded", "shown", "wrapped"]

FORMAT = 1


@dataclass(frozen=True)
class Number:
    """A measure of samples, beside the same of real pictures.

    Attributes:
        measure: which, of `measures.MEASURES`.
        name: what it is called with its extractor.
        value: of the samples against the reference.
        real: of as many other real pictures against the same reference: what no model can be expected to pass. None
            where no real pictures are left.
        method: everything else that it depends on.
    """

    measure: str
    name: str
    value: Interval
    real: Interval | None
    method: Method


@dataclass(frozen=True)
class Report:
    """All that an evaluation found.

    Attributes:
        numbers: the measures.
        curve: the Fréchet distance by steps of the solver, as far as asked for.
        losses: errors of denoising by time: of the reference, and of held-out pictures where there are any.
        memorisation: None where the training pictures are not at hand.
        likelihood: bits per dimension, where asked for.
        notes: what must be known to read the numbers rightly, and what was left out and why.
    """

    numbers: tuple[Number, ...]
    curve: tuple[Number, ...] = ()
    losses: tuple[LossByTime, ...] = ()
    memorisation: Memorisation | None = None
    likelihood: Likelihood | None = None
    notes: tuple[str, ...] = ()

    @property
    def method(self) -> Method:
        """Of the main numbers."""
        return self.numbers[0].method

    def number(self, measure: str) -> Number | None:
        """One of them."""
        return next((number for number in self.numbers if number.measure == measure), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        likelihood = None if self.likelihood is None else json.loads(self.likelihood.to_json())
        return {"format": FORMAT, **asdict(self), "likelihood": likelihood}

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Report:
        """The inverse of `save`. Raises `InputError`, naming the file, for what it does not understand."""
        try:
            facts = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read as a report: {error}") from error
        if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
            raise InputError(f"{path} is no report of format {FORMAT}: evaluate again")
        likelihood = facts.pop("likelihood", None)
        read = build(cls, facts, str(path))
        if not read.numbers:
            raise InputError(f"{path} holds no numbers")
        return read if likelihood is None else cls(**{**vars(read), "likelihood": _likelihood(likelihood, path)})

    def __str__(self) -> str:
        rows = [
            (number.name, shown(number.value), "" if number.real is None else shown(number.real))
            for number in self.numbers
        ]
        lines = [*_table(("", "samples", "real pictures"), rows), "", *how_lines(self.method, self.numbers)]
        if self.curve:
            steps = [(f"{n.method.making.steps} steps", shown(n.value), "") for n in self.curve]
            lines += ["", *_table((f"{self.curve[0].name} by steps", "samples", ""), steps)]
        if self.memorisation is not None:
            lines += ["", *wrapped(f"Memorisation. {self.memorisation.baseline}")]
            lines += [
                line for space in self.memorisation.spaces for line in wrapped(f"{space.space}: {space.verdict}", "  ")
            ]
        if self.likelihood is not None:
            lines += ["", str(self.likelihood)]
        for note in self.notes:
            lines += ["", *wrapped(f"Note: {note}")]
        return "\n".join(lines)


def rounded(interval: Interval) -> tuple[str, str, str]:
    """Value, low and high, with as many digits as the interval leaves a meaning to: two of its width."""
    width = interval.high - interval.low
    digits = min(max(1 - math.floor(math.log10(width)), 0), 6) if width > 0 else 3
    # + 0.0: there is no negative zero
    value, low, high = (f"{round(x, digits) + 0.0:.{digits}f}" for x in (interval.value, interval.low, interval.high))
    return value, low, high


def shown(interval: Interval) -> str:
    """A number and its interval in a line."""
    value, low, high = rounded(interval)
    return f"{value} [{low}, {high}]"


def how_lines(method: Method, numbers: tuple[Number, ...] = ()) -> list[str]:
    """What numbers depend on, in a few lines."""
    making, reference, network = method.making, method.reference, method.features
    lines = [
        f"  {making.n} samples of {making.model} ({making.weights} weights {making.weights_sha256[:12]}), seeds "
        f"{making.seeds}, labels {making.labels}",
        f"  solver {making.solver}, {making.steps} steps ({making.network_calls} network calls), spacing "
        f"{making.spacing}, guidance scale {making.guidance_scale:g}, besides: {making.guidance}",
        f"  reference: {reference.n} of {reference.count} pictures of {reference.data} "
        f"({reference.fingerprint[:12]}), {reference.chosen}",
        f"  features: {network.name} ({network.sha256[:12]}), {network.preprocessing}",
    ]
    return [*lines, f"  {drawn_line([number.value for number in numbers])}"] if numbers else lines


def drawn_line(intervals: Sequence[Interval]) -> str:
    """How the intervals of some measures came about. The first is of all pictures."""
    one = intervals[0]
    few = {interval.n[0] for interval in intervals} - {one.n[0]}
    first = f"; measures of pairs are of the first {few.pop()}" if few else ""
    return f"[ ]: {one.level:.0%} intervals, method {one.method!r}, {one.draws} draws, seed {one.seed}{first}"


def wrapped(text: str, indent: str = "") -> list[str]:
    """A text in lines for a terminal, all but the first indented."""
    return textwrap.wrap(text, 110, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def _table(head: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> list[str]:
    one, two, three = (max(map(len, column)) for column in zip(head, *rows, strict=True))
    return [f"{name:<{one}}  {value:>{two}}  {real:>{three}}".rstrip() for name, value, real in [head, *rows]]


def _likelihood(facts: Mapping[str, Any], path: Path) -> Likelihood:
    try:
        bits, parts = Estimate(**facts["bits"]), {name: Estimate(**part) for name, part in facts["parts"].items()}
        return Likelihood(**{**facts, "bits": bits, "parts": parts})
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: the likelihood is not what was written ({error})") from error
