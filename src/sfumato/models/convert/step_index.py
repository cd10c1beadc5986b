"""Networks that are told 1000·t, as ones that are told the index of the step, as all are in other libraries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.networks.config import UNetConfig
from sfumato.networks.encoder import TIME_SCALE

__all__ = ["told_the_index"]


def told_the_index(
    config: UNetConfig, tensors: Mapping[str, Tensor], steps: int
) -> tuple[UNetConfig, dict[str, Tensor]]:
    """The same network, told i = t·steps - 1. Without change where it is already.

    1000·t is i + 1 when there are 1000 steps. Sines and cosines of i + 1 are those of i, turned by one angle for each
    frequency ω: sin((i+1)ω) = cos ω·sin iω + sin ω·cos iω, and so on. The first layer after them takes that in.

    Raises:
        InputError: for a schedule with other than 1000 steps, whose index such a network cannot be told.
    """
    if config.time_steps == steps:
        return config, dict(tensors)
    if config.time_steps is not None or steps != TIME_SCALE:
        told = "1000·t" if config.time_steps is None else f"the index among {config.time_steps} steps"
        raise InputError(f"the network is told {told}, but the schedule has {steps} steps: others cannot tell it that")
    half = config.channels // 2
    share = torch.arange(half, dtype=torch.float64) / max(half - (config.time_encoding == "ddpm"), 1)
    omega = torch.exp(-math.log(10_000.0) * share)
    weight = tensors["time.0.weight"]
    a, b = weight.double().chunk(2, dim=1)
    turn = omega.sin() if config.time_encoding == "ddpm" else -omega.sin()  # sines first, or cosines first
    turned = torch.cat([a * omega.cos() - b * turn, a * turn + b * omega.cos()], dim=1)
    return replace(config, time_steps=steps), {**tensors, "time.0.weight": turned.to(weight.dtype)}
