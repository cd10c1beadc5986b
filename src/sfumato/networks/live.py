"""How much memory tensors take while a network works, found out without any: it is walked on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["most_live_bytes"]

CONVOLUTION = torch.ops.aten.convolution.default  # (input, weight, …)


@torch.no_grad()
def most_live_bytes(work: Callable[[], object], fused: bool = True, reorders: bool = False) -> int:
    """The most bytes that tensors made in `work` take at once. What was there before (weights) is not counted.

    Every operation is seen as it would run, with shapes and number types but no numbers; a tensor counts from the
    operation that makes it until nothing refers to its storage any more. What else a kernel takes for itself does not
    show.

    Args:
        work: calls networks on the meta device, with inputs that it makes there.
        fused: attention by a kernel that never holds its scores; otherwise by separate products and softmax.
        reorders: a convolution copies its weights into an order of its own while it works, as oneDNN's do on the CPU.
    """
    with _Count(reorders) as count, _Fused() if fused else nullcontext():
        work()
    return count.most


class _Count(TorchDispatchMode):
    """Follows storages from the operation that makes them to their end."""

    def __init__(self, reorders: bool) -> None:
        super().__init__()
        self.now = self.most = 0
        self._reorders = reorders
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {value.untyped_storage()._cdata for value in tree_leaves(args) if isinstance(value, Tensor)}
        for value in result if isinstance(result, tuple | list) else (result,):
            storage = value.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known and key not in given:
                self._known.add(key)
                self.now += size
                weakref.finalize(storage, self._end, key, size)
        own = args[1].untyped_storage().nbytes() if self._reorders and func is CONVOLUTION else 0
        self.most = max(self.most, self.now + own)
        return result

    def _end(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class _Fused(TorchFunctionMode):
    """In the place of attention, only its result, laid out as fused kernels write it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            batch, heads, queries, _ = args[0].shape
            return args[0].new_empty(batch, queries, heads, args[2].shape[3]).transpose(1, 2)
        return func(*args, **(kwargs or {}))
