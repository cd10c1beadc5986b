"""A solver is a table. Every step of every solver here is linear in what is already there:

    x_next = Σ_k X[i,k]·x_{i-k} + Σ_k D[i,k]·x̂0_{i-k} + S[i]·z

where x_{i-k} are the latest points, x̂0_{i-k} the latest denoised pictures and z fresh standard normal noise.
Row i is what happens after network call number i, which is made at (x_i, times[i]).

K is 1 to 4 for nearly all; only PNDM's Runge and Kutta looks back over the calls of three steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sfumato.errors import InputError

__all__ = ["MAX_WINDOW", "Row", "Table"]

MAX_WINDOW = 16


class Row(NamedTuple):
    """A row while a table is written: time of the call; weights of the latest points and x̂0, newest first; of noise."""

    t: float
    x: Sequence[float]
    d: Sequence[float]
    s: float = 0.0


class Program(NamedTuple):
    """A row as the loop reads it: Python floats, zeros left out.

    A term (which, k, weight) stands for x̂0_{i-k} where `which` is 1, for x_{i-k} where it is 0.
    """

    t: float
    terms: tuple[tuple[int, int, float], ...]
    s: float


@dataclass(frozen=True, eq=False)
class Table:
    """A solver for one schedule and one list of times. Immutable, comparable, serialisable.

    Attributes:
        name: of the solver, with its options.
        times: (N+1,) float64, of every network call, and where the result lives. They fall, but for stages at the same
            time (Heun) and where a row adds noise to go back (restart). In a table for inversion they rise.
        X: (N, K) float64, weights of the points x_i, x_{i-1} …
        D: (N, K) float64, weights of the denoised pictures x̂0_i, x̂0_{i-1} …
        S: (N,) float64, weight of fresh noise.
        steps: solver steps, for which N network calls are made.
        spacing: how the times were chosen.
        learned: S is scaled, value by value, to the variance that the model has learned.
    """

    name: str
    times: np.ndarray
    X: np.ndarray
    D: np.ndarray
    S: np.ndarray
    steps: int
    spacing: str = "given"
    learned: bool = False

    def __post_init__(self) -> None:
        for field in ("times", "X", "D", "S"):
            value = np.array(getattr(self, field), np.float64) + 0.0  # -0.0 becomes 0.0: equal tables hash equal
            value.flags.writeable = False
            object.__setattr__(self, field, value)
            if not np.isfinite(value).all():
                raise InputError(f"table {self.name!r}: {field} holds a number that is not finite")
        n = len(self.S)
        if n == 0 or self.times.shape != (n + 1,) or self.S.shape != (n,):
            raise InputError(f"table {self.name!r}: {n} rows need {n + 1} times, got {len(self.times)}")
        if self.X.ndim != 2 or self.X.shape != self.D.shape or len(self.X) != n or not 1 <= self.window <= MAX_WINDOW:
            raise InputError(
                f"table {self.name!r}: X and D must be ({n}, K), 1 ≤ K ≤ {MAX_WINDOW}: {self.X.shape}, {self.D.shape}"
            )
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or not 1 <= self.steps <= n:
            raise InputError(f"table {self.name!r}: steps are a whole number from 1 to {n}, not {self.steps!r}")
        rises = np.diff(self.times) > 0
        upwards = not self.S.any() and (np.diff(self.times) >= 0).all()
        falls = self.times[-1] <= self.times[0] and not (rises & (self.S == 0)).any()
        if self.times.min() < 0 or self.times.max() > 1 or not (upwards or falls):
            raise InputError(f"table {self.name!r}: times lie in [0, 1] and fall, except where noise is added")
        for i in range(min(n, self.window)):  # a row cannot look back beyond the start
            if self.X[i, i + 1 :].any() or self.D[i, i + 1 :].any():
                raise InputError(f"table {self.name!r}: row {i} looks back further than {i} steps")

    @classmethod
    def from_rows(cls, name: str, rows: Sequence[Row], end: float, steps: int, spacing: str) -> Table:
        """A table from rows of any lengths; the window K is the longest of them. `end`: where the result lives."""
        window = max((max(len(row.x), len(row.d)) for row in rows), default=1)
        X, D = np.zeros((2, len(rows), window))
        for i, row in enumerate(rows):
            X[i, : len(row.x)], D[i, : len(row.d)] = row.x, row.d
        return cls(name, np.array([*(row.t for row in rows), end]), X, D, np.array([r.s for r in rows]), steps, spacing)

    @property
    def calls(self) -> int:
        """Network calls: N."""
        return len(self.S)

    @property
    def window(self) -> int:
        """K: how many of the latest points and denoised pictures a row may use."""
        return self.X.shape[1]

    @property
    def stochastic(self) -> bool:
        return bool(self.S.any())

    @cached_property
    def program(self) -> tuple[Program, ...]:
        """The rows as the loop reads them."""

        def used(which: int, weights: np.ndarray) -> list[tuple[int, int, float]]:
            return [(which, k, float(weight)) for k, weight in enumerate(weights) if weight]

        return tuple(
            Program(float(t), (*used(1, d), *used(0, x)), float(s))
            for t, x, d, s in zip(self.times[:-1], self.X, self.D, self.S, strict=True)
        )

    def to_json(self) -> str:
        """All of it, exactly (Python prints floats so that they read back equal)."""
        arrays = {key: getattr(self, key).tolist() for key in ("times", "X", "D", "S")}
        more = {"learned": True} if self.learned else {}
        return json.dumps({"name": self.name, "steps": self.steps, "spacing": self.spacing, **arrays, **more})

    @classmethod
    def from_json(cls, text: str) -> Table:
        """The inverse of `to_json`. Raises `InputError` for anything else."""
        try:
            facts = json.loads(text)
            arrays = {key: np.array(facts[key], np.float64) for key in ("times", "X", "D", "S")}
            learned = facts.get("learned", False) is True
            return cls(
                str(facts["name"]), **arrays, steps=facts["steps"], spacing=str(facts["spacing"]), learned=learned
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"not a solver table: {error}") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        mine, theirs = ((table.name, table.steps, table.learned) for table in (self, other))
        return mine == theirs and all(
            np.array_equal(getattr(self, key), getattr(other, key)) for key in ("times", "X", "D", "S")
        )

    def __hash__(self) -> int:
        return hash((self.name, self.times.tobytes(), self.X.tobytes(), self.D.tobytes(), self.S.tobytes()))

    def __str__(self) -> str:
        head = f"{self.name}: {self.steps} steps, {self.calls} network calls, spacing {self.spacing}"
        head += "; S is scaled by the learned variance" if self.learned else ""
        lines = [head, "    i        t  | X  | D  | S"]
        for i, (x, d, s) in enumerate(zip(self.X, self.D, self.S, strict=True)):
            row = "  ".join(f"{v: .5f}" for v in x), "  ".join(f"{v: .5f}" for v in d)
            lines.append(f"{i:5d}  {self.times[i]:.5f}  | {row[0]}  | {row[1]}  | {s:.5f}")
        return "\n".join([*lines, f"  end  {self.times[-1]:.5f}"])
