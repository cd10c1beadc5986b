"""What a generator and a discriminator minimise. The discriminator puts out logits: above 0 means it looks real."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["NON_SATURATING", "RELATIVISTIC", "GanLoss", "gradient_penalty"]


class GanLoss(NamedTuple):
    """Two losses, functions of logits (N,) of real and of made pictures.

    Attributes:
        discriminator, generator: the losses.
        compares: whether the generator's loss depends on real pictures too.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    compares: bool


NON_SATURATING = GanLoss(
    discriminator=lambda real, made: F.softplus(-real).mean() + F.softplus(made).mean(),
    generator=lambda real, made: F.softplus(-made).mean(),
    compares=False,
)
"""-E log σ(D(x)) - E log(1 - σ(D(G(z)))); -E log σ(D(G(z))) (Goodfellow et al. 2014, section 3)."""

RELATIVISTIC = GanLoss(
    discriminator=lambda real, made: F.softplus(made - real).mean(),
    generator=lambda real, made: F.softplus(real - made).mean(),
    compares=True,
)
"""-E log σ(D(x) - D(G(z))) in pairs, and with its sign turned (Jolicoeur-Martineau 2019; Huang et al. 2024)."""


def gradient_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """E ‖∇ₓD(x)‖², of which the graph is kept: R1 on real pictures (Mescheder et al. 2018), R2 on made ones.

    Args:
        logits: D(x) (N,), each a function of its own picture alone.
        x: (N, …) the pictures, which require a gradient.
    """
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return slope.square().flatten(1).sum(1).mean()
