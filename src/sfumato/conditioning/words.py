"""A closed vocabulary: the words of the training captions. It knows what it does not know, and says so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sfumato.errors import InputError, nearest

__all__ = ["Tokens", "Vocabulary", "words_of"]

NO_WORD = -1
_WORD = re.compile(r"\w+")


class Tokens(NamedTuple):
    """A text as numbers."""

    ids: list[int]  # as long as the longest text; NO_WORD where there is none
    weights: list[float]  # of each
    notes: list[str]  # what was left out or read as something else


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("'", "").replace("’", ""))


@dataclass(frozen=True)
class Vocabulary:
    """Words and their numbers: 0 begins every text, words[i] is i + 1.

    Attributes:
        words: all different.
        length: tokens of the longest text, the beginning included.
    """

    words: tuple[str, ...]
    length: int

    @classmethod
    def of(cls, texts: Iterable[str], length: int) -> Vocabulary:
        """The words of these texts, the most frequent first. Raises `InputError` when there are none."""
        counts = Counter(word for text in texts for word in words_of(text))
        if not counts:
            raise InputError("the captions hold no words to learn")
        return cls(tuple(sorted(counts, key=lambda word: (-counts[word], word))), length)

    @property
    def size(self) -> int:
        return len(self.words) + 1

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: i + 1 for i, word in enumerate(self.words)}

    def tokens(self, spans: Sequence[tuple[str, float]]) -> Tokens:
        """Numbers of the words of spans (text, weight). A word that training never saw is left out, a plural read as
        its singular where only that is known; what does not fit is cut; `notes` tells each of these."""
        ids, weights, unknown, left, notes = [0], [1.0], [], [], []
        for text, weight in spans:
            for word in words_of(text):
                number = self._number.get(word)
                if number is None and (singular := self._singular(word)):
                    notes.append(f"{word!r} is read as {singular!r}")
                    number = self._number[singular]
                if number is None:
                    unknown.append(word)
                elif len(ids) == self.length:
                    left.append(word)
                else:
                    ids.append(number)
                    weights.append(weight)
        if unknown:
            shown = ", ".join(map(repr, dict.fromkeys(unknown[:8])))
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            hint = f" {nearest(unknown[0], self.words)}" if len(unknown) == 1 else ""
            notes.append(f"left out, because training never saw it: {shown}{more}.{hint}")
        if left:
            notes.append(f"only {self.length - 1} words fit; cut off: {' '.join(left[:8])}{' …' if left[8:] else ''}")
        missing = self.length - len(ids)
        return Tokens(ids + [NO_WORD] * missing, weights + [1.0] * missing, notes)

    def _singular(self, word: str) -> str | None:
        for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
            known = word.removesuffix(ending) + instead
            if word.endswith(ending) and known in self._number:
                return known
        return None
