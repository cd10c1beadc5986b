"""`Order`: what a task is to make, and the one way in which all tasks make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from sfumato.errors import InputError
from sfumato.generation.asked import Asked
from sfumato.generation.model import Label, Model, Prompt, Request, seeds_from
from sfumato.generation.provenance import of_task, provenance
from sfumato.images import Images
from sfumato.networks.condition import Condition
from sfumato.solvers import Denoiser, Table, solve

__all__ = ["Order"]

Progress = Callable[[int], None] | None


@dataclass(frozen=True, eq=False)
class Order:
    """N pictures that a model is asked for.

    Attributes:
        model, request: what makes them, and how.
        seeds: of each.
        asked: what each shows.
        scale: w of guidance.
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
    ) -> Order:
        """Arguments and errors as in `Model.make`; but what is not given is not drawn: it is no label and no prompt."""
        seeds = seeds_from(n, seed)
        text = model.spec.text is not None
        none = label is None and (not text or bool(model.spec.labels.kinds))
        asked = model.ask(seeds, "none" if none else label, "" if text and prompt is None else prompt, request.guidance)
        return cls(model, request, seeds, asked, model.guidance_scale(request, asked))

    def made(
        self,
        table: Table,
        begin: Callable[[slice], Tensor],
        *,
        around: Callable[[Denoiser], Denoiser] | None = None,
        condition: Condition | None = None,
        batch: int = 64,
        progress: Progress = None,
    ) -> np.ndarray:
        """The pictures, uint8 (N, H, W, C).

        Args:
            table: the solver.
            begin: x (n, C, H, W) at table.times[0] of some of the N pictures.
            around: what is put around the guided denoiser.
            condition: what the network is told of each, in the place of what follows from `asked`.
            batch: pictures at once.
            progress: is called with the number of pictures done after each batch.
        """
        if batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        parts, request, n = [], self.request, len(self.seeds)
        for first in range(0, n, batch):
            part = slice(first, first + batch)
            denoise = self.model.denoiser(
                self.asked[part],
                self.scale,
                request.clip,
                guidance=request.guidance,
                dynamic_threshold=request.dynamic_threshold,
                condition=None if condition is None else condition[part],
            )
            x = solve(around(denoise) if around else denoise, begin(part), table, self.seeds[part])
            parts.append(self.model.pictures(x))
            if progress:
                progress(min(first + batch, n))
        return np.concatenate(parts)

    def signed(self, pictures: np.ndarray, task: str, each: Sequence[Mapping[str, Any]] = (), **facts: Any) -> Images:
        """The pictures with their provenance: how they were sampled, and what the task was (see `of_task`)."""
        texts = provenance(self.model, self.request, self.seeds, self.asked, self.scale)
        return Images(pictures, of_task(texts, task, each, **facts))
