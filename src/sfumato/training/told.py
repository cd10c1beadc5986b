"""Which warnings a run has been given, so that none is given twice, however often the run is interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Told"]


@dataclass(frozen=True)
class Told:
    """Warnings by name.

    Attributes:
        logged: the names of those that stand in the log.
        fresh: those since its last line, and their texts.
    """

    logged: tuple[str, ...] = ()
    fresh: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> bool:
        """Whether this one was given."""
        return name in self.logged or name in self.fresh

    def also(self, name: str, text: str) -> Told:
        """With a new one."""
        return Told(self.logged, {**self.fresh, name: text})

    def settled(self) -> tuple[Mapping[str, str], Told]:
        """What is fresh, and what is known once that stands in the log."""
        return self.fresh, Told((*self.logged, *self.fresh))
