"""How much memory tensors take while a network works, found out without any: it is walked on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sfumato.networks.kernels import winograd

__all__ = ["Scratch", "convolution_scratch", "most_live_bytes"]

Scratch = Literal["reordered", "unfolded"]
"""What a convolution takes for itself: a copy of its weights in another order, or of its input with every number as
often as the kernel sees it. Where ours takes torch's place (`kernels.winograd`), "reordered" is what that takes."""

CONVOLUTION = torch.ops.aten.convolution.default  # (input, weight, bias, stride, padding, dilation, …, groups)


def convolution_scratch(device: str, dtype: torch.dtype) -> Scratch | None:
    """What convolutions take on this machine. oneDNN reorders weights; where it has no instructions for the number
    type, PyTorch unfolds the input. Other devices are not known here: none."""
    supported = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    if device != "cpu":
        return None
    return "reordered" if dtype not in supported or supported[dtype]() else "unfolded"


@torch.no_grad()
def most_live_bytes(work: Callable[[], object], fused: bool = True, scratch: Scratch | None = None) -> int:
    """The most bytes that tensors made in `work` take at once. What was there before (weights) is not counted.

    Every operation is seen as it would run, with shapes and number types but no numbers; a tensor counts from the
    operation that makes it until nothing refers to its storage any more. What else a kernel takes for itself does not
    show.

    Args:
        work: calls networks on the meta device, with inputs that it makes there.
        fused: attention by a kernel that never holds its scores; otherwise by separate products and softmax.
        scratch: what a convolution takes for itself while it works; None: nothing.
    """
    with _Count(scratch) as count, _Fused() if fused else nullcontext():
        work()
    return count.most


class _Count(TorchDispatchMode):
    """Follows storages from the operation that makes them to their end."""

    def __init__(self, scratch: Scratch | None) -> None:
        super().__init__()
        self.now = self.most = 0
        self._scratch: Scratch | None = scratch
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {value.untyped_storage()._cdata for value in tree_leaves(args) if isinstance(value, Tensor)}
        made: tuple[Tensor, ...] = tuple(result) if isinstance(result, tuple | list) else (result,)
        for value in made:
            storage = value.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known and key not in given:
                self._known.add(key)
                self.now += size
                weakref.finalize(storage, self._end, key, size)
        own = _scratch_bytes(self._scratch, args, made[0]) if func is CONVOLUTION else 0
        self.most = max(self.most, self.now + own)
        return result

    def _end(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _scratch_bytes(scratch: Scratch | None, args: Any, result: Tensor) -> int:
    """Of a convolution of these arguments, to its result (N, O, H, W)."""
    x, weight, _, stride, padding, dilation, *_, groups = args
    if scratch == "reordered" and weight.shape[2:] == (3, 3) and weight.dtype == torch.float32:
        plain = (*stride, *padding, *dilation) == (1,) * 6 and groups == 1
        if plain and winograd.fits(x.shape, len(weight)):
            return winograd.scratch_bytes(x.shape, len(weight))
    if scratch == "unfolded" and weight[0, 0].numel() > 1:
        return weight[0].numel() * (result.numel() // len(weight)) * weight.itemsize
    return weight.numel() * weight.itemsize if scratch == "reordered" else 0


class _Fused(TorchFunctionMode):
    """In the place of attention, only its result, laid out as fused kernels write it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            batch, heads, queries, _ = args[0].shape
            return args[0].new_empty(batch, queries, heads, args[2].shape[3]).transpose(1, 2)
        return func(*args, **(kwargs or {}))
