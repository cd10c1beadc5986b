"""Networks that take turns on a device, where there is no room for all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar, get_args

import torch
from torch import nn

from sfumato.errors import InputError, nearest
from sfumato.memory import return_freed_memory

__all__ = ["OFFLOADS", "Offload", "Turn", "Turns"]

Network = TypeVar("Network", bound=nn.Module)
Offload = Literal["cpu", "disk"]
OFFLOADS: tuple[Offload, ...] = get_args(Offload)


class Turns:
    """Where the networks of a model are while another one works.

    Args:
        device: where they work.
        offload: None: all stay on the device. "cpu": one at a time is there, the others wait in main memory. "disk":
            one at a time is in memory at all; for its next turn it is read again.

    Raises:
        InputError: for another word.
    """

    def __init__(self, device: torch.device | str = "cpu", offload: Offload | None = None) -> None:
        if offload is not None and offload not in OFFLOADS:
            raise InputError(f"networks are offloaded to cpu or disk, not to {offload!r}. {nearest(offload, OFFLOADS)}")
        self.device, self.offload = torch.device(device), offload
        self.current: Turn | None = None

    @classmethod
    def of(cls, value: Turns | torch.device | str) -> Turns:
        """As they are; a device is where all networks stay."""
        return value if isinstance(value, Turns) else cls(value)

    def add(self, network: Network | Callable[[], Network]) -> Turn[Network]:
        """One more network: itself, or what reads it from its file. One that came from no file is never forgotten."""
        read = (lambda: network) if isinstance(network, nn.Module) else network
        return Turn(self, read)  # type: ignore[return-value] (a network can itself be called)


class Turn(Generic[Network]):
    """One of the networks. Call it where the network is to work, and keep what it returns no longer than that."""

    def __init__(self, turns: Turns, read: Callable[[], Network]) -> None:
        self._turns, self._read = turns, read
        self._network = None if turns.offload == "disk" else read()
        if self._network is not None and turns.offload is None:
            self._network.to(turns.device)

    def __call__(self) -> Network:
        """The network, on the device. With offloading, the one that was there has left it."""
        turns = self._turns
        if turns.offload is not None and turns.current is not self:
            if turns.current is not None:
                turns.current._leave()
            turns.current = self
            self._network = (self._network or self._read()).to(turns.device)
        assert self._network is not None  # it was read when it was added, or now
        return self._network

    def _leave(self) -> None:
        assert self._network is not None  # it is its turn
        self._network.to("cpu")
        if self._turns.offload == "disk":
            self._network = None
            return_freed_memory()
