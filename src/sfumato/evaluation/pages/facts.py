"""What numbers depend on, as names and what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sfumato.evaluation.intervals import Interval
from sfumato.evaluation.measures import MEASURES
from sfumato.evaluation.method import Making, Method, RealSet
from sfumato.evaluation.report import Number, rounded

__all__ = ["better", "fewer", "making_facts", "method_facts", "number", "real_facts"]


def better(measure: str) -> str:
    """Which way is better, in words."""
    way = MEASURES[measure].better
    return "best as real pictures have it" if way == "as real" else f"{way} is better"


def number(interval: Interval | None) -> str:
    """A number above its interval; a dash for none."""
    if interval is None:
        return '<span class="value">–</span>'
    value, low, high = rounded(interval)
    return f'<span class="value">{value}</span><span class="interval">{low} to {high}</span>'


def making_facts(making: Making) -> Iterator[tuple[str, str]]:
    """What made the samples."""
    yield "Model", f"{making.model}, {making.weights} weights, {making.dtype}"
    yield "Weights", f"sha256 {making.weights_sha256}"
    yield "Samples", f"{making.n:,}, seeds {making.seeds}, {making.size[1]} x {making.size[0]} pixels"
    yield "Labels", making.labels
    calls = f"{making.network_calls} network calls, spacing {making.spacing}"
    yield "Solver", f"{making.solver}, {making.steps} steps, {calls}; table {making.table_sha256}"
    yield "Guidance", f"scale {making.guidance_scale:g}; besides: {making.guidance}"
    yield "x̂0 clipped", making.clip
    yield "Made with", f"sfumato {making.sfumato}"


def real_facts(method: Method, drawn: Interval) -> Iterator[tuple[str, str]]:
    """What samples were measured against, and with what; `drawn` is one of the intervals."""
    yield "Reference", _real(method.reference)
    yield "Features", f"{method.features.name}, sha256 {method.features.sha256}; settings: {method.features.settings}"
    yield "Preprocessing", method.features.preprocessing
    yield (
        "Intervals",
        f"{drawn.level:.0%}, method “{drawn.method}”, {drawn.draws} draws, seed {drawn.seed}: how far each number "
        "would move with other pictures",
    )


def method_facts(method: Method, numbers: tuple[Number, ...]) -> Iterator[tuple[str, str]]:
    """All that the numbers of an evaluation depend on."""
    yield from making_facts(method.making)
    if numbers[0].real is not None:
        yield "Other real pictures", "as many of the same data set, none of them in the reference"
    yield from real_facts(method, numbers[0].value)
    yield from fewer({number.name: number.value for number in numbers})


def fewer(intervals: Mapping[str, Interval]) -> Iterator[tuple[str, str]]:
    """Which measures are of fewer pictures than the first, if any."""
    whole, *_ = intervals.values()
    few = {name: interval.n[0] for name, interval in intervals.items() if interval.n != whole.n}
    if few:
        yield "Fewer pictures", f"of the first {min(few.values()):,} on each side are: {', '.join(few)}"


def _real(real: RealSet) -> str:
    of = f"{real.n:,} of {real.count:,} pictures of {real.data}, {real.chosen}"
    return f"{of}; fingerprint {real.fingerprint}; sha256 of those taken {real.sha256}"
