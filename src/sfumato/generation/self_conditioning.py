"""Self-conditioning: a network that also sees its own last guess of the picture (Chen, Zhang & Hinton 2022).

The solver's loop knows nothing of it: what remembers is the denoiser.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.solvers import Denoiser

__all__ = ["remembering"]


def remembering(denoise: Callable[[Tensor], Denoiser], calls: int) -> Denoiser:
    """A denoiser that shows each call the x̂0 of the one before, and the first of every `calls` calls zeros.

    Args:
        denoise: the last x̂0 (N, …) -> a denoiser that sees it. What guides and thresholds belongs inside: the network
            sees what the solver used.
        calls: of one run of a table. After them it begins anew, so that a run can be repeated.
    """
    last: Tensor | None = None
    count = 0

    def remembered(x: Tensor, t: float) -> Tensor:
        nonlocal last, count
        if last is None or count % calls == 0:
            last = torch.zeros_like(x)
        count += 1
        last = denoise(last)(x, t)
        return last

    return remembered
