"""`sfumato solvers …`: list the solvers, show the table of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from sfumato.diffusion.config import ScheduleName
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.solvers import Table

__all__ = ["List", "Show"]


@dataclass(frozen=True)
class List:
    """List the solvers: order of convergence, network calls a step, fresh noise or not, default spacing, options."""

    def run(self) -> None:
        """Print it."""
        from sfumato.solvers import SOLVERS, SPACINGS

        print("name             order  calls a step  noise  spacing    options")
        for name, solver in SOLVERS.items():
            order, noise = (str(solver.order), "no") if solver.order else ("-", "yes")
            options = " ".join(f"{key}={_shown(value)}" for key, value in solver.options.items())
            print(f"{name:<16} {order:>5}  {solver.calls:<12}  {noise:<5}  {solver.spacing:<9}  {options}")
            print(f"{'':<16}        {solver.summary}")
        print(f"\nspacings: {', '.join(SPACINGS)}; or own times. ddim draws noise for eta > 0; plms and ipndm")
        print("reach their order where steps are even in sigma/alpha. A model may have tuned tables: sfumato tune.")


@dataclass(frozen=True)
class Show:
    """Print the table of a solver: the exact times it visits and its weights."""

    name: Positional[str]
    """one of `sfumato solvers`; or tuned, with --model"""
    steps: int | None = None
    """solver steps; default: the model's, or 10"""
    model: str | None = None
    """the model whose schedule and defaults it is for; default: no model, a schedule"""
    schedule: ScheduleName | None = None
    """without a model: the schedule, of 1000 steps; default: cosine"""
    zero_terminal_snr: bool | None = None
    """without a model: whether the schedule ends in pure noise; default: it does, but for edm"""
    spacing: str | None = None
    """where the steps lie; default: the solver's"""
    times: tuple[float, ...] = ()
    """own times instead of steps and spacing, falling from 1 (noise) to 0 (data)"""
    end: str = "data"
    """data, or sigma-min to stop at the least noise that was trained on"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5"""
    json: bool = False
    """print it as JSON, which sfumato.solvers.Table.from_json reads"""
    plot: Path | None = None
    """also draw its weights into this PNG file (needs sfumato[plot])"""

    def run(self) -> None:
        """Make the table, print, draw."""
        table = self._table()
        print(table.to_json() if self.json else table)
        if self.plot:
            from sfumato.solvers.plot import draw_table

            draw_table(table, self.plot)

    def _table(self) -> Table:
        from sfumato.cli.sampling import options_from

        options, times = options_from(self.option), self.times or None
        if self.model is not None:
            if self.schedule is not None or self.zero_terminal_snr is not None:
                raise InputError("a model has its own schedule; leave out --schedule and --zero-terminal-snr")
            from sfumato.generation.model import load
            from sfumato.generation.request import Request

            request = Request(
                self.steps, self.name, self.spacing, options=tuple(options.items()), times=times, end=self.end
            )
            return load(self.model).table(request)
        from sfumato.diffusion.config import ScheduleConfig
        from sfumato.solvers import get

        if self.name == "tuned":
            raise InputError("a tuned table belongs to a model; name it with --model")
        zero = self.schedule != "edm" if self.zero_terminal_snr is None else self.zero_terminal_snr
        schedule = ScheduleConfig(self.schedule or "cosine", zero_terminal_snr=zero).build()
        steps = 10 if self.steps is None and times is None else self.steps
        return get(self.name, schedule, steps, self.spacing, times, self.end, **options)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
