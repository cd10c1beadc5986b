"""`Order`: what a model is to make, and the one way in which sampling and all tasks make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from sfumato.errors import InputError
from sfumato.generation.asked import Asked
from sfumato.generation.provenance import of_task, provenance
from sfumato.generation.request import Label, Prompt, Request, seeds_from
from sfumato.generation.spread import LearnedSpread
from sfumato.images import Images
from sfumato.networks.condition import Condition
from sfumato.solvers import Denoiser, Table, solve

if TYPE_CHECKING:
    from sfumato.generation.model import Model

__all__ = ["Order", "Progress"]

Progress = Callable[[int], None] | None


@dataclass(frozen=True, eq=False)
class Order:
    """N pictures that a model is asked for.

    Attributes:
        model, request: what makes them, and how.
        seeds: of each.
        asked: what each shows.
        scale: w of guidance, of all of them together: how they are batched changes nothing.
    """

    model: Model
    request: Request
    seeds: list[int]
    asked: Asked
    scale: float

    @classmethod
    def of(
        cls,
        model: Model,
        request: Request,
        n: int,
        seed: int | Sequence[int],
        label: Label | np.ndarray,
        prompt: Prompt,
        *,
        drawn: bool,
    ) -> Order:
        """Arguments and errors as in `Model.make`. What is not given is drawn as in the training data, or, where it is
        not to be `drawn`, it is no label and no prompt."""
        if not drawn:
            text = model.spec.text is not None
            label = "none" if label is None and (not text or bool(model.spec.labels.kinds)) else label
            prompt = "" if text and prompt is None else prompt
        seeds = seeds_from(n, seed)
        asked = model.ask(seeds, label, prompt, request.guidance)
        return cls(model, request, seeds, asked, model.guidance_scale(request, asked))

    def denoiser(
        self,
        table: Table,
        part: slice = slice(None),
        condition: Condition | None = None,
        spread: LearnedSpread | None = None,
    ) -> Denoiser:
        """Of some of the N pictures, for one run after another of a table. A `condition` of all takes the place of what
        follows from `asked`; `spread` is told what each call says of the variance."""
        request = self.request
        return self.model.denoiser(
            self.asked[part],
            self.scale,
            request.clip,
            guidance=request.guidance,
            dynamic_threshold=request.dynamic_threshold,
            condition=None if condition is None else condition[part],
            calls=table.calls,
            hear=None if spread is None else spread.hear,
        )

    def spread(self, table: Table) -> LearnedSpread | None:
        """Of the noise, for a table that takes it from what the model has learned. `InputError` where it has not."""
        return LearnedSpread(self.model.spec, self.model.diffusion.schedule, table) if table.learned else None

    def start(self, table: Table, part: slice = slice(None)) -> Tensor:
        """The noise (n, C, H, W) at table.times[0] that some of the N pictures start from."""
        return self.model.start(self.seeds[part], self.request.size, float(table.times[0]))

    def made(
        self,
        table: Table,
        begin: Callable[[slice], Tensor] | None = None,
        *,
        around: Callable[[Denoiser], Denoiser] | None = None,
        condition: Condition | None = None,
        batch: int = 64,
        progress: Progress = None,
    ) -> np.ndarray:
        """The pictures, uint8 (N, H, W, C).

        Args:
            table: the solver.
            begin: x (n, C, H, W) at table.times[0] of some of the N pictures; default: `start`.
            around: what is put around the guided denoiser.
            condition: what the network is told of each, in the place of what follows from `asked`.
            batch: pictures at once.
            progress: is called with the number of pictures done after each batch.
        """
        if batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        parts, n = [], len(self.seeds)
        for first in range(0, n, batch):
            part = slice(first, first + batch)
            spread = self.spread(table)
            denoise = self.denoiser(table, part, condition, spread)
            x = self.start(table, part) if begin is None else begin(part)
            x = solve(around(denoise) if around else denoise, x, table, self.seeds[part], spread)
            parts.append(self.model.pictures(x))
            if progress:
                progress(min(first + batch, n))
        return np.concatenate(parts)

    def provenance(self) -> list[dict[str, str]]:
        """What the PNG file of each says."""
        return provenance(self.model, self.request, self.seeds, self.asked, self.scale)

    def signed(self, pictures: np.ndarray, task: str, each: Sequence[Mapping[str, Any]] = (), **facts: Any) -> Images:
        """The pictures with their provenance: how they were sampled, and what the task was (see `of_task`)."""
        return Images(pictures, of_task(self.provenance(), task, each, **facts))
