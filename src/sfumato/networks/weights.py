"""A network from stored weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.networks.config import UNetConfig

__all__ = ["with_tensors"]

Network = TypeVar("Network", bound=nn.Module)


def with_tensors(kind: type[Network], config: UNetConfig, tensors: Mapping[str, Tensor]) -> Network:
    """`kind(config)` with these weights, in evaluation mode, without gradients. Draws no random numbers.

    Raises:
        InputError: when tensors are missing, too many, of another shape, or hold NaN or infinity.
    """
    with torch.device("meta"):
        network = kind(config)
    expected = network.state_dict()
    missing, surplus = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or surplus:
        what = f"{missing[0]} is missing" if missing else f"there is no place for {surplus[0]}"
        raise InputError(f"{what} ({len(missing)} tensors missing, {len(surplus)} too many)")
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise InputError(f"{name} has the shape {tuple(value.shape)}, not {tuple(expected[name].shape)}")
        if not value.isfinite().all():
            raise InputError(f"{name} holds NaN or infinity")
    network.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)
