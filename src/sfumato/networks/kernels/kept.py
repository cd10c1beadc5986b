"""Weights that stay spread between calls, where no gradients are wanted of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from sfumato.networks.kernels.build import library
from sfumato.networks.kernels.winograd import spread, spread_bytes

__all__ = ["KEPT", "MOST_KEPT_BYTES", "Kept"]

MOST_KEPT_BYTES = 256 * 2**20
"""of all networks in this process together"""


@dataclass(frozen=True)
class _Entry:
    side: int
    spread: Tensor
    weight: Tensor  # shares memory and version with the layer's, and keeps the memory from being used for another
    version: int
    probe: int

    def of(self, weight: Tensor, side: int) -> bool:
        """Whether it was made for this, as it is now."""
        same = side == self.side and weight.data_ptr() == self.weight.data_ptr() and weight.shape == self.weight.shape
        return same and self.weight._version == self.version and _probe(weight) == self.probe


class Kept:
    """Spread weights by the layer that they belong to, for as long as its weights stay what they are.

    A change is seen by torch's count of changes in place; one that torch was kept from counting (`.data`, numpy) by
    16 of the numbers. A layer keeps one kind; what finds no room is made anew each time. So results never depend on
    what is kept.

    Args:
        most_bytes: of all that is kept.
    """

    def __init__(self, most_bytes: int = MOST_KEPT_BYTES) -> None:
        self.most_bytes = most_bytes
        self._entries: WeakKeyDictionary[nn.Module, _Entry] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Of what is kept now."""
        return sum(entry.spread.nbytes for entry in list(self._entries.values()))

    def __call__(self, layer: nn.Conv2d, side: int) -> Tensor:
        """`spread(layer.weight, side)`; what is not kept lasts until this thread's next call only."""
        weight, found = layer.weight, self._entries.get(layer)
        if found is not None and found.of(weight, side):
            return found.spread
        size = spread_bytes(weight.shape[1], weight.shape[0], side)
        with self._lock:
            self._entries.pop(layer, None)
            if not weight.is_inference() and self.bytes + size <= self.most_bytes:
                seen = weight.detach()
                entry = _Entry(side, spread(weight, side), seen, seen._version, _probe(weight))
                self._entries[layer] = entry
                return entry.spread
        return spread(weight, side, lasting=False)

    def forget(self, layer: nn.Module) -> None:
        """What is kept for this layer."""
        self._entries.pop(layer, None)


KEPT = Kept()


def _probe(weight: Tensor) -> int:
    kernels = library()
    assert kernels is not None
    return kernels.sfumato_probe(weight.data_ptr(), weight.numel())
