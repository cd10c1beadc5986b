"""A network from stored weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.networks.blank import blank

__all__ = ["with_tensors"]

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


def with_tensors(
    kind: Callable[[Config], Network],
    config: Config,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
) -> Network:
    """`kind(config)` with these weights, in evaluation mode, without gradients. Draws no random numbers.

    Tensors are taken from the mapping one by one, so that of one that reads them from a file only one more than the
    network itself is in memory.

    Args:
        kind: the network's class.
        config: its shape.
        tensors: its state.
        dtype: number type of the network's weights.

    Raises:
        InputError: when tensors are missing, too many, of another shape, hold NaN or infinity, or numbers too large
            for `dtype`.
    """
    with blank():
        network = kind(config)
    expected = network.state_dict()
    missing, surplus = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or surplus:
        what = f"{missing[0]} is missing" if missing else f"there is no place for {surplus[0]}"
        raise InputError(f"{what} ({len(missing)} tensors missing, {len(surplus)} too many)")
    state = {}
    for name, place in expected.items():
        value = tensors[name]
        if value.shape != place.shape:
            raise InputError(f"{name} has the shape {tuple(value.shape)}, not {tuple(place.shape)}")
        if not value.isfinite().all():
            raise InputError(f"{name} holds NaN or infinity")
        layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
        state[name] = value.to(dtype, memory_format=layout, copy=True)
        if dtype != value.dtype and not state[name].isfinite().all():
            raise InputError(f"{name} holds numbers too large for {str(dtype).removeprefix('torch.')}; take bfloat16")
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
