"""Which averages of the weights a run keeps besides its first one, as a frozen value. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.errors import InputError

__all__ = ["LONGEST", "AveragesConfig", "check_length"]

LONGEST = 0.28  # at 0.2887 all weights since the beginning count alike, and beyond it the older ones more


@dataclass(frozen=True)
class AveragesConfig:
    """Further averages. None changes the training; each costs the memory of the weights and a pass over them a step."""

    halflives: tuple[int, ...] = ()
    """half-lives in pictures; models of them: sfumato average RUN --halflife N"""
    lengths: tuple[float, ...] = ()
    """two relative lengths, 0.05 0.1, for averages of any length afterwards: sfumato average RUN --length 0.07"""
    every: int = 25_000
    """pictures between snapshots of those, each of the size of the weights, twice"""

    def __post_init__(self) -> None:
        for halflife in self.halflives:
            if halflife < 1:
                raise InputError(f"averages.halflives are numbers of pictures from 1, not {halflife}")
        for length in self.lengths:
            check_length(length)
        if len(self.lengths) == 1 or any(len(set(given)) < len(given) for given in (self.lengths, self.halflives)):
            raise InputError("averages.lengths are two or more and differ, such as 0.05 0.1; so do averages.halflives")
        if self.every < 1:
            raise InputError(f"averages.every must be at least 1, not {self.every}")


def check_length(length: float) -> float:
    """Return a relative length of an average; raise `InputError` unless it is above 0 and at most `LONGEST`."""
    if not 0 < length <= LONGEST:
        raise InputError(
            f"the relative length of an average (its standard deviation, as a share of the training) is above 0 and at "
            f"most {LONGEST}, not {length}"
        )
    return length
