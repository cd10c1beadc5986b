"""Squared distances of all pairs of pictures, kept, so that many drawn parts are measured at the price of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sfumato.evaluation.blocks import spans, squared_distances, squares
from sfumato.evaluation.cmmd import SCALE, gaussian
from sfumato.evaluation.coverage import Prdc
from sfumato.evaluation.feature_sets import feature_pair, unit_rows
from sfumato.evaluation.kid import cubic

__all__ = ["MOST", "Pairwise"]

MOST = 5_000  # pictures on a side: 300 MB for the three tables

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # of x·y, ‖x‖² and ‖y‖²


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Squared distances within real pictures, within made ones, and between them, in float32.

    What `kid`, `cmmd` and `prdc` give of features, this gives of a part of them without looking at features again.
    Memory grows with the square of the number of pictures: take no more than `MOST`.

    Attributes:
        real: (n, n).
        made: (m, m).
        across: (n, m).
        real_square, made_square: ‖x‖² of each, (n,) and (m,).
        width: D.
    """

    real: np.ndarray
    made: np.ndarray
    across: np.ndarray
    real_square: np.ndarray
    made_square: np.ndarray
    width: int

    @classmethod
    def of(cls, real: np.ndarray, made: np.ndarray) -> Pairwise:
        """Of features (n, D) and (m, D). Raises `InputError` as the measures do."""
        real, made = feature_pair(real, made, least=2, names=("the real features", "the made features"))
        for rows, name in ((real, "the real features"), (made, "the made features")):
            unit_rows(rows, name)  # a row of zeros has no cosine: better known now than in a draw
        return cls(
            _table(real, real), _table(made, made), _table(real, made), squares(real), squares(made), real.shape[1]
        )

    def part(self, real: np.ndarray, made: np.ndarray) -> Pairwise:
        """Of some of the real pictures and some of the made ones, given by number."""
        return Pairwise(
            self.real[np.ix_(real, real)],
            self.made[np.ix_(made, made)],
            self.across[np.ix_(real, made)],
            self.real_square[real],
            self.made_square[made],
            self.width,
        )

    def kid(self) -> float:
        """As `sfumato.evaluation.kid.kid`."""
        return self._mmd2(lambda inner, one, other: cubic(inner, self.width))

    def cmmd(self) -> float:
        """As `sfumato.evaluation.cmmd.cmmd`."""
        return SCALE * self._mmd2(lambda inner, one, other: gaussian(inner / np.sqrt(one[:, None] * other)))

    def prdc(self, k: int) -> Prdc:
        """As `sfumato.evaluation.coverage.prdc`, for k below the number of pictures on each side."""
        around_real, around_made = _radii(self.real, k), _radii(self.made, k)
        inside = self.across <= around_real[:, None]
        return Prdc(
            precision=float(inside.any(0).mean()),
            recall=float((self.across <= around_made).any(1).mean()),
            density=float(inside.sum(0).mean() / k),
            coverage=float(inside.any(1).mean()),
            k=k,
            n_real=len(self.real),
            n_made=len(self.made),
        )

    def _mmd2(self, kernel: Kernel) -> float:
        """E k(x, x') + E k(y, y') - 2·E k(x, y), as `mmd.unbiased_mmd2`; x·y = (‖x‖² + ‖y‖² - ‖x - y‖²)/2."""

        def values(square: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
            inner = np.add(one[:, None], other)
            inner -= square
            inner /= 2
            return kernel(inner, one, other)

        real = values(self.real, self.real_square, self.real_square)
        made = values(self.made, self.made_square, self.made_square)
        within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (real, made))
        return float(within - 2 * values(self.across, self.real_square, self.made_square).mean())


def _table(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    table = np.empty((len(one), len(other)), np.float32)
    for rows in spans(len(one)):
        for columns in spans(len(other)):
            table[rows, columns] = squared_distances(one[rows], other[columns])
    return table


def _radii(square: np.ndarray, k: int) -> np.ndarray:
    """From each to its k-th nearest other. It is itself at distance 0, and stands first, so one more is counted."""
    return np.partition(square, k, axis=1)[:, k]
