"""What can be seen of a picture after so many bits: progressive coding (Ho et al. 2020, section 4.3)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfumato.data.dataset import Dataset
from sfumato.diffusion.progressive import rate_distortion
from sfumato.evaluation.bounds import Progress, bounds, own_variance
from sfumato.evaluation.told import ToldPictures
from sfumato.generation.model import Model
from sfumato.scaling import to_uint8
from sfumato.seeds import check_seed

__all__ = ["Progressive", "progressive_coding"]

SHOWN = 8  # pictures whose reconstructions are kept
HALVINGS = 8  # of all bits


@dataclass(frozen=True, eq=False)
class Progressive:
    """The rate-distortion curve of a model, and what a receiver sees on the way.

    Attributes:
        times: (T+1,) falling from 1 to 0; the receiver has got x_t.
        rate: (T+1,) bits per dimension until then, mean over the pictures.
        rmse: (T+1,) of x̂0, on the scale of bytes, mean over the pictures; at last 0.
        columns: numbers of the times at which reconstructions are kept: where the bits are 1/256 of all, 1/128 … all.
        pictures: (K, columns, H, W, C) uint8, x̂0 at these times; the last is the picture itself.
        facts: everything else that it depends on.
    """

    times: np.ndarray
    rate: np.ndarray
    rmse: np.ndarray
    columns: np.ndarray
    pictures: np.ndarray
    facts: dict[str, Any]

    def to_json(self) -> str:
        curve = {name: getattr(self, name).tolist() for name in ("times", "rate", "rmse")}
        return json.dumps({**self.facts, **curve}, indent=1)

    def __str__(self) -> str:
        rows = [f"{self.times[i]:8.3f}  {self.rate[i]:8.4f}  {self.rmse[i]:8.2f}" for i in self.columns]
        facts = self.facts
        settings = ", ".join(f"{key} {value}" for key, value in facts["settings"].items())
        return "\n".join(
            [
                "       t  bits/dim      RMSE",
                *rows,
                f"  mean over {facts['n']} of {facts['pictures']} pictures of {facts['data']} "
                f"({facts['data_fingerprint'][:16]}), seed {facts['seed']}",
                f"  {facts['model']}, {facts['weights']} weights {facts['weights_sha256'][:16]}; it is told "
                f"{facts['told']}; {facts['steps']} steps, {settings}",
            ]
        )


def progressive_coding(
    model: Model, data: Dataset, n: int, *, steps: int | None = None, seed: int = 0, progress: Progress = None
) -> Progressive:
    """Code pictures progressively, with the variance that the model has learned, if it has.

    Every term of the bound is evaluated, so this takes `steps` network calls a picture. Arguments and errors as in
    `likelihood.bits_per_dimension`.
    """
    told, variance = ToldPictures.drawn(model, data, n, check_seed(seed)), own_variance(model.spec)
    kept: list[np.ndarray] = []  # from data to noise, as the terms are asked for

    def keep(part: slice, guess: Tensor) -> None:
        if part.start == 0:
            kept.append(to_uint8(guess[:SHOWN]))

    curves = [rate_distortion(bound) for bound, _ in bounds(told, steps, None, variance, "erf", seed, progress, keep)]
    rate, rmse = (torch.cat(values).mean(0).numpy() for values in zip(*[curve[1:] for curve in curves], strict=True))
    shares = 0.5 ** np.arange(HALVINGS, -1, -1)
    columns = np.unique(np.searchsorted(rate, shares * rate[-1], side="left"))
    pictures = np.stack([*kept[::-1], data.images[told.rows[: len(kept[0])]]], 1)
    return Progressive(
        times=curves[0].times,
        rate=rate,
        rmse=rmse,
        columns=columns,
        pictures=pictures[:, columns],
        facts={
            **told.facts(),
            "seed": seed,
            "steps": len(rate) - 1,
            "settings": {"variance": variance, "decoder": "erf", "x̂0": "clipped to [-1, 1]"},
        },
    )
