"""Checks of the options that solvers take."""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.errors import InputError

__all__ = ["check_choice", "check_number"]


def check_choice(solver: str, option: str, value: object, choices: Sequence[object]) -> None:
    """Raise `InputError` unless an option has one of its values. Numbers, words and truths are kept apart."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise InputError(f"{solver}: {option} is one of {', '.join(map(str, choices))}, not {value!r}")


def check_number(solver: str, option: str, value: object, low: float, high: float) -> float:
    """Return an option that is a number from `low` to `high`; raise `InputError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{solver}: {option} is a number from {low:g} to {high:g}, not {value!r}")
    return float(value)
