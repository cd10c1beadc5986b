"""What a person writes, taken apart: spans of text with weights, without what cannot be read."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from sfumato.errors import InputError

__all__ = ["MOST_CHARACTERS", "Span", "parse_prompt"]

MOST_CHARACTERS = 100_000
MOST_WEIGHT = 10.0
_WEIGHTED = re.compile(r"\(([^()]*):\s*(-?\d*\.?\d+)\s*\)")


class Span(NamedTuple):
    """A piece of a prompt, and how much it counts: 1 as written."""

    text: str
    weight: float


def parse_prompt(prompt: str) -> tuple[Span, ...]:
    """Spans of a prompt, in which (words:1.2) gives some words a weight. All other brackets are what they are.

    White space of any kind becomes single blanks. Spans without text are left out, so an empty prompt has none.

    Raises:
        InputError: for what is no text, for control characters, more than 100,000 characters, or a weight outside
            [0, 10].
    """
    if not isinstance(prompt, str):
        raise InputError(f"a prompt is a text, not {type(prompt).__name__}")
    if len(prompt) > MOST_CHARACTERS:
        raise InputError(f"a prompt of {len(prompt):,} characters; at most {MOST_CHARACTERS:,} are read")
    prompt = unicodedata.normalize("NFC", prompt)
    for place, character in enumerate(prompt):
        if unicodedata.category(character) in ("Cc", "Cs") and not character.isspace():
            raise InputError(
                f"the prompt has the control character U+{ord(character):04X} at position {place + 1}; remove it"
            )
    spans, end = [], 0
    for match in _WEIGHTED.finditer(prompt):
        weight = float(match[2])
        if not 0 <= weight <= MOST_WEIGHT:
            raise InputError(f"the weight in {match[0]!r} must lie between 0 and {MOST_WEIGHT:g}")
        spans += [Span(prompt[end : match.start()], 1.0), Span(match[1], weight)]
        end = match.end()
    spans.append(Span(prompt[end:], 1.0))
    clean = (Span(" ".join(text.split()), weight) for text, weight in spans)
    return tuple(span for span in clean if span.text)
