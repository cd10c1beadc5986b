"""Ancestral sampling on K states: x_T of the prior, then a draw of p(x_s|x_t) at every step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sfumato.diffusion.bits import falling_times
from sfumato.diffusion.draws import Seeds, check_seeds, uniform
from sfumato.discrete.bound import Predict
from sfumato.discrete.chain import Chain, categorical
from sfumato.discrete.reverse import Form, reverse
from sfumato.errors import InputError
from sfumato.seeds import Stream

__all__ = ["sample"]


@torch.no_grad()
def sample(
    chain: Chain,
    predict: Predict,
    seeds: Seeds,
    shape: Sequence[int],
    *,
    times: Sequence[float] | np.ndarray | None = None,
    form: Form = "posterior",
    device: torch.device | str = "cpu",
) -> Tensor:
    """Pictures int64, (N, …) of this shape. Each is a function of its seed: the same alone and in any batch.

    Args:
        chain: the forward process.
        predict: (x_t, t) -> logits of x_0 (N, …, K).
        seeds: one a picture, or pairs.
        shape: of one picture.
        times: where to ask the network, falling to 0, multiples of 1/T; default: all T.
        form: of the reverse process.
        device: where to.

    Raises:
        InputError: for times that are none of the chain's, or do not fall, seeds, or outputs of another shape.
        DivergedError: when the network's output is NaN.
    """
    pairs, grid = check_seeds(seeds, len(seeds)), falling_times(chain.steps, times)
    chain.index(torch.from_numpy(grid))
    if not pairs or not shape or min(shape) < 1:
        raise InputError(f"nothing to sample: {len(pairs)} pictures of shape {tuple(shape)}")
    first = uniform(pairs, shape, Stream.START)
    x = categorical(chain.prior.expand(*first.shape, -1), first).to(device)
    for i, (t, s) in enumerate(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True)):
        fresh = uniform(pairs, shape, Stream.STEP, i).to(device)
        x = categorical(reverse(chain, predict(x, t), x, t, s, form), fresh)
    return x
