"""Losses and gradient norm of the latest steps: where a number that is not finite is found, and named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sfumato.errors import DivergedError
from sfumato.training.batches import Batches
from sfumato.training.checkpoint import Window
from sfumato.training.entries import entries

__all__ = ["Recent"]


class Recent:
    """Losses and gradient norm since the last line of the log, left on the device so that no step waits for them."""

    def __init__(self, out: Path, window: Window, parts: Sequence[str] = (), verb: str = "train") -> None:
        """`parts` names the numbers that `add` is given besides loss and norm; `verb` is the command that goes on."""
        self._out, self._window, self._parts, self._verb = out, window, parts, verb
        self._steps: list[tuple[int, int]] = []
        self._values: list[Tensor] = []

    def add(
        self, seen: int, count: int, loss: Tensor, norm: Tensor, *parts: Tensor, by_time: Tensor | None = None
    ) -> None:
        """A step, of scalars; `by_time`: its sums, see `by_time.in_buckets`."""
        self._steps.append((seen, count))
        values = torch.stack([loss, norm, *parts])
        self._values.append(values if by_time is None else torch.cat([values, by_time.flatten()]))

    def look(self, batches: Batches) -> Window:
        """What there was since the last line of the log.

        Raises `DivergedError` naming the first step whose numbers are not finite, and the pictures in it.
        """
        values = torch.stack(self._values).tolist() if self._values else []
        for (seen, count), (loss, norm, *others) in zip(self._steps, values, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(self._explain(seen, loss, norm, batches.at(seen, count).pictures.tolist()))
            parts, by_time = others[: len(self._parts)], others[len(self._parts) :]
            self._window = self._window.with_step(
                loss, norm, count, dict(zip(self._parts, parts, strict=True)), by_time
            )
        self._steps.clear()
        self._values.clear()
        return self._window

    def take(self, batches: Batches) -> Window:
        """As `look`, and begin anew."""
        window, self._window = self.look(batches), Window()
        return window

    def _explain(self, seen: int, loss: float, norm: float, index: list[int]) -> str:
        shown = ", ".join(map(str, index[:16])) + (" …" if len(index) > 16 else "")
        saved = entries(self._out / "checkpoints")
        return (
            f"training broke down at the step after {seen:,} pictures: loss {loss}, gradient norm {norm}. Its batch "
            f"holds the pictures number {shown} of the data. Look at those, or go on with a lower --lr or --clip: "
            f"sfumato {self._verb} --out {self._out} --resume --lr …; "
            + ("the last checkpoint is from before the trouble." if saved else "there is no checkpoint yet.")
        )
