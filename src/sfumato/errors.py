"""What can go wrong, in two kinds: the user's input (exit code 2) and a failure of the work itself (exit code 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DivergedError", "InputError", "SfumatoError", "nearest"]


class SfumatoError(Exception):
    """Base of every error that Sfumato raises on purpose. Its message says what, where, and what to do."""

    exit_code = 1


class InputError(SfumatoError, ValueError):
    """Something the caller gave (a file, an option, an argument) cannot be used as it is."""

    exit_code = 2


class DivergedError(SfumatoError, ArithmeticError):
    """A number stopped being finite: in training or while sampling. The message names where."""


def nearest(word: object, known: Iterable[str]) -> str:
    """A sentence for an error message: the nearest known word, or the list of them when nothing is near."""
    known = list(known)
    close = difflib.get_close_matches(str(word).lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    if close:
        return f"Did you mean {next(k for k in known if k.lower() == close[0])!r}?"
    return f"Known: {', '.join(known)}." if known else "None are known."
