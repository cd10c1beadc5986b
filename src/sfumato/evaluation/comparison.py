"""What a comparison found: each number of A and of B side by side, and whether the difference is more than noise."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.evaluation.intervals import Interval
from sfumato.evaluation.measures import MEASURES
from sfumato.evaluation.method import Making, Method
from sfumato.evaluation.report import drawn_line, how_lines, shown, wrapped
from sfumato.files import write_text
from sfumato.typed import build

__all__ = ["Comparison", "Difference", "differing"]

FORMAT = 1


@dataclass(frozen=True)
class Difference:
    """One measure of A and of B, and A less B with an interval of its own.

    Attributes:
        measure, name: as of `Number`.
        a, b: of each against the reference.
        difference: a - b, of the same seeds and the same reference in every draw, so that what both share cancels: it
            may be beyond noise where the intervals of a and b overlap.
        method_a, method_b: everything else that they depend on.
    """

    measure: str
    name: str
    a: Interval
    b: Interval
    difference: Interval
    method_a: Method
    method_b: Method

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return not self.difference.low <= 0 <= self.difference.high

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.beyond_noise:
            return "within noise"
        higher, way = self.difference.low > 0, MEASURES[self.measure].better
        if way == "as real":
            return f"{'A' if higher else 'B'} is higher, beyond noise"
        return f"{'A' if higher == (way == 'higher') else 'B'} is better, beyond noise"


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found.

    Attributes:
        differences: by measure.
        apart: root mean square difference of the pictures of equal seeds, in levels of 255, averaged over pictures.
        notes: what must be known to read the numbers rightly.
    """

    differences: tuple[Difference, ...]
    apart: Interval
    notes: tuple[str, ...] = ()

    @property
    def a(self) -> Method:
        return self.differences[0].method_a

    @property
    def b(self) -> Method:
        return self.differences[0].method_b

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        facts: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        for one, difference in zip(facts["differences"], self.differences, strict=True):
            one["verdict"] = difference.verdict
        write_text(path, json.dumps(facts, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """The inverse of `save`. Raises `InputError`, naming the file, for what it does not understand."""
        try:
            facts = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read as a comparison: {error}") from error
        if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
            raise InputError(f"{path} is no comparison of format {FORMAT}: compare again")
        try:
            for one in facts["differences"]:
                one.pop("verdict")  # it follows from the rest
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not what a comparison writes ({error!r})") from error
        read = build(cls, facts, str(path))
        if not read.differences:
            raise InputError(f"{path} holds no numbers")
        return read

    def __str__(self) -> str:
        rows = [("", "A", "B", "A - B", "")]
        rows += [(d.name, shown(d.a), shown(d.b), shown(d.difference), d.verdict) for d in self.differences]
        one, two, three, four, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            f"{name:<{one}}  {a:>{two}}  {b:>{three}}  {less:>{four}}  {verdict}".rstrip()
            for name, a, b, less, verdict in rows
        ]
        lines += ["", f"Pictures of equal seeds are {shown(self.apart)} levels of 255 apart (root mean square)."]
        for name, method in (("A", self.a), ("B", self.b)):
            lines += ["", f"{name}:", *how_lines(method)]
        lines += ["", drawn_line([difference.difference for difference in self.differences])]
        for note in self.notes:
            lines += ["", *wrapped(f"Note: {note}")]
        return "\n".join(lines)


def differing(a: Making, b: Making) -> list[tuple[str, str, str]]:
    """What differs between two ways to make pictures: name, of A, of B."""
    pairs = ((field.name.replace("_", " "), getattr(a, field.name), getattr(b, field.name)) for field in fields(Making))
    return [(name, str(one), str(other)) for name, one, other in pairs if one != other]
