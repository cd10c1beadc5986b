"""The average of the weights over the run, which is what samples best (Ho et al. 2020, app. B; EDM's half-life)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Average", "decay"]


def decay(batch: int, seen: int, halflife: float, rampup: float) -> float:
    """Share of the old average that stays when `batch` pictures bring the count to `seen`.

    Half of the old is gone after min(halflife, rampup·seen) pictures: early weights are forgotten quickly.
    """
    return 0.5 ** (batch / max(min(halflife, rampup * seen), 1e-9))


class Average:
    """A float32 average of a model's parameters and floating buffers."""

    def __init__(self, model: nn.Module) -> None:
        self.values: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, keep: float) -> None:
        """average ← keep·average + (1 - keep)·weights."""
        fresh = model.state_dict()
        for name, value in self.values.items():
            value.lerp_(fresh[name], 1 - keep)
