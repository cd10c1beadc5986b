"""From the last Gaussian to one of 256 levels: the discretised decoder p(x_0|x_1).

A picture of bytes k ∈ {0 … 255} is x = k/127.5 - 1. A level's probability is the Gaussian's mass over its bin,
[x - 1/255, x + 1/255]; the bins of the darkest and the brightest level reach to ∓∞ (Ho et al. 2020, eq. 13).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from sfumato.diffusion.forward import broadcast
from sfumato.errors import InputError, nearest

__all__ = ["DECODERS", "LEVELS", "Decoder", "check_decoder", "decoder_log_prob", "levels"]

Decoder = Literal["erf", "tanh", "density"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)

LEVELS = 256
_OFF = 1e-3  # of a level: a byte's way through float32 costs 1e-5 of one, through bfloat16 more than is bearable
_FLOOR = 1e-12  # of a probability, with "tanh"


def check_decoder(name: str) -> Decoder:
    """Return `name`; raise `InputError` with the nearest name when it is none of erf, tanh, density."""
    if name not in DECODERS:
        raise InputError(f"no decoder {name!r}. {nearest(name, DECODERS)}")
    return name


def levels(x0: Tensor) -> Tensor:
    """The level 0 … 255 of each value, float64 on the CPU.

    Raises `InputError` for a value that is none: rescaled, cropped at other ends, or noise. Its "bits" mean nothing.
    """
    place = (x0.detach().cpu().double() + 1) * 127.5
    level = place.round()
    bad = ~((place - level).abs() <= _OFF) | (level < 0) | (level >= LEVELS)
    if bool(bad.any()):
        value = x0.detach().cpu()[bad].flatten()[0].item()
        raise InputError(
            f"a value of {value:.6g} is not one of the 256 levels k/127.5 - 1 of [-1, 1]. Bits are counted for "
            "pictures of bytes (sfumato.scaling.to_unit); for other data take decoder='density'"
        )
    return level


def decoder_log_prob(x0: Tensor, mean: Tensor, std: float | Tensor, decoder: Decoder = "erf") -> Tensor:
    """log p(x_0) of every value under N(mean, std²), in nats: float64 on the CPU, shape of `x0`.

    Args:
        x0: (N, …) pictures on the 256 levels; any numbers for "density".
        mean: (N, …).
        std: a number, one a picture (N,), or one a value.
        decoder: "erf": the exact mass of the level's bin, finite and exact in the tails for any std.
            "tanh": for parity with the numbers of Ho et al.: Φ(z) ≈ ½·(1 + tanh(√(2/π)·(z + 0.044715·z³))), and no
            probability below 1e-12. It is off by up to 2e-4 in Φ, and at the floor by as much as you like.
            "density": of the Gaussian itself, for data that has no levels.

    Raises:
        InputError: for an unknown decoder, a std that is not positive and finite, or values off the levels.
    """
    check_decoder(decoder)
    mean = mean.cpu().double()
    spread = torch.as_tensor(std, dtype=torch.float64, device="cpu")
    if not bool(((spread > 0) & torch.isfinite(spread)).all()):
        raise InputError("the decoder's standard deviation must be positive and finite")
    if spread.ndim == 1:
        spread = torch.as_tensor(broadcast(spread, mean))
    if decoder == "density":
        z = (x0.cpu().double() - mean) / spread
        return -(z**2) / 2 - torch.log(spread) - math.log(2 * math.pi) / 2
    level = levels(x0)
    lower = ((2 * level - 1) / 255 - 1 - mean) / spread
    upper = ((2 * level + 1) / 255 - 1 - mean) / spread
    below, above, within = _tanh(lower, upper) if decoder == "tanh" else _erf(lower, upper)
    return torch.where(level == 0, below, torch.where(level == LEVELS - 1, above, within))


def _erf(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log Φ(upper), log(1 - Φ(lower)) and log(Φ(upper) - Φ(lower)), with all digits in both tails."""
    flip = lower + upper > 0  # Φ(u) - Φ(l) = Φ(-l) - Φ(-u): in the left tail log Φ has all its digits
    small = torch.special.log_ndtr(torch.where(flip, -upper, lower))
    big = torch.special.log_ndtr(torch.where(flip, -lower, upper))
    gap = small - big
    rest = torch.where(gap > -math.log(2), torch.log(-torch.expm1(gap)), torch.log1p(-torch.exp(gap)))
    return torch.special.log_ndtr(upper), torch.special.log_ndtr(-lower), big + rest


def _tanh(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same by the approximation."""

    def phi(z: Tensor) -> Tensor:
        return (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2

    below, above = phi(upper), 1 - phi(lower)
    return tuple(torch.log(p.clamp(min=_FLOOR)) for p in (below, above, phi(upper) - phi(lower)))  # type: ignore[return-value]
