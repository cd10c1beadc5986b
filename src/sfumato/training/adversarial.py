"""What a discriminator adds to the training of an autoencoder (Esser et al. 2021, section 3.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["adaptive_weight", "discriminator_loss", "fooling_loss"]

DELTA, LARGEST = 1e-6, 1e4


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """½·(E max(0, 1 - D(x)) + E max(0, 1 + D(x̂))), the hinge loss (Lim & Ye 2017, "Geometric GAN")."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + made).mean())


def fooling_loss(made: Tensor) -> Tensor:
    """-E D(x̂): what the decoder is to lower."""
    return -made.mean()


def adaptive_weight(reconstruction: Tensor, fooling: Tensor, last: Tensor) -> Tensor:
    """λ = ‖∇ reconstruction‖ / (‖∇ fooling‖ + δ), at the decoder's last weights (Esser et al. 2021, eq. 7).

    Args:
        reconstruction, fooling: losses, of which the graph is kept.
        last: weights of the decoder's last layer.

    Returns:
        A number without gradient, at most 10⁴; δ = 10⁻⁶.
    """
    of = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (reconstruction, fooling))
    wanted, offered = of
    return (wanted / (offered + DELTA)).clamp(max=LARGEST).detach()
