"""`sfumato average`: a model folder of another average of a run's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from sfumato.errors import InputError

__all__ = ["Average"]


@dataclass(frozen=True)
class Average:
    """Make a model of another average of the weights of a run, finished or not.

    A run keeps what this needs when it is started with --averages.lengths 0.05 0.1, or --averages.halflives N.
    """

    run_folder: Positional[Path]
    """the run's folder"""
    length: float | None = None
    """relative length: the profile's standard deviation as a share of the training, such as 0.1"""
    halflife: int | None = None
    """or: one of the run's further half-lives, in pictures"""
    at: int | None = None
    """with --length: pictures seen at its end; default: at the last snapshot"""
    out: Path | None = None
    """folder to write; default: a folder named after the average, in RUN/averages"""

    def run(self) -> None:
        """Combine, write, and say where the model is."""
        from sfumato.training.snapshots import average_of_halflife, average_of_length, save_average

        if (self.length is None) == (self.halflife is None) or (self.length is None and self.at is not None):
            raise InputError("say either --length (and --at, if you like) or --halflife")
        if self.length is not None:
            seen, tensors, off = average_of_length(self.run_folder, self.length, self.at)
            facts: dict[str, object] = {"pictures": seen, "average_length": self.length}
            name = f"length-{self.length:g}-at-{seen}"
            print(f"power-function average of relative length {self.length:g} at {seen:,} pictures")
            print(f"its profile is off by {off:.2%} of its norm, for want of more snapshots")
        else:
            assert self.halflife is not None
            seen, tensors = average_of_halflife(self.run_folder, self.halflife)
            facts = {"pictures": seen, "ema_halflife": self.halflife}
            name = f"halflife-{self.halflife}-at-{seen}"
            print(f"average of half-life {self.halflife:,} at {seen:,} pictures")
        out = self.out or self.run_folder / "averages" / name
        save_average(self.run_folder, out, tensors, facts)
        print(f"model: {out}")
