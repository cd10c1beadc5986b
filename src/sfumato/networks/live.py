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

from sfumato.networks.kernels.conv import keeps, side_of
from sfumato.networks.kernels.kept import MOST_KEPT_BYTES
from sfumato.networks.kernels.winograd import room_bytes, spread_bytes

__all__ = ["Scratch", "convolution_scratch", "kept_bytes", "live_bytes_of_step", "most_live_bytes"]

Scratch = Literal["reordered", "unfolded"]
"""What a convolution takes for itself: a copy of its weights in another order, or of its input with every number as
often as the kernel sees it. Where ours takes torch's place (`kernels.conv`), "reordered" is what that takes."""

CONVOLUTION = torch.ops.aten.convolution.default  # (input, weight, bias, stride, padding, dilation, …, groups)
OURS = torch.ops.sfumato.conv3x3.default  # (input, weight, bias, turned)


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
    show; nor does what stays after the call, see `kept_bytes`.

    Args:
        work: calls networks on the meta device, with inputs that it makes there.
        fused: attention by a kernel that never holds its scores; otherwise by separate products and softmax.
        scratch: what a convolution takes for itself while it works; None: nothing.
    """
    with _Count(scratch) as count, _Fused() if fused else nullcontext():
        work()
    return count.most


def live_bytes_of_step(work: Callable[[], object], scratch: Scratch | None) -> list[int]:
    """As `most_live_bytes`, of a step of training, whose gradients stay: the bytes during each of its operations.

    Args:
        work: forward and backward, on fake tensors of a device (torch's FakeTensorMode), so that everything goes the
            way that it goes there, and keeps for its gradients what it keeps there.
        scratch: as of `most_live_bytes`.
    """
    with _Count(scratch) as count:
        work()
    return count.course


@torch.no_grad()
def kept_bytes(work: Callable[[], object], scratch: Scratch | None, most: int = MOST_KEPT_BYTES) -> int:
    """What convolutions keep after `work` for the next call (`kernels.kept`), as long as their network is there.

    Args:
        work, scratch: as of `most_live_bytes`.
        most: what there is room for.
    """
    with _Count(scratch, most) as count:
        work()
    return sum(count.kept.values())


class _Count(TorchDispatchMode):
    """Follows storages from the operation that makes them to their end."""

    def __init__(self, scratch: Scratch | None, most_kept: int = MOST_KEPT_BYTES) -> None:
        super().__init__()
        self.now, self.course = 0, [0]
        self.kept: dict[int, int] = {}  # by the storage of the weights
        self._scratch: Scratch | None = scratch
        self._most_kept = most_kept
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {value.untyped_storage()._cdata for value in tree_leaves(args) if isinstance(value, Tensor)}
        made = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        for value in made:
            storage = value.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known and key not in given:
                self._known.add(key)
                self.now += size
                weakref.finalize(storage, self._end, key, size)
        own = 0
        if func is CONVOLUTION:
            own = self._scratch_bytes(args, made[0])
        elif func is OURS and self._scratch is not None:
            x, channels = args[0].shape, made[0].shape[1]
            own = room_bytes(x, channels, 4, kept=False)
        self.course.append(self.now + own)
        return result

    @property
    def most(self) -> int:
        return max(self.course)

    def _end(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def _scratch_bytes(self, args: Any, result: Tensor) -> int:
        """Of a convolution of these arguments, to its result (N, O, H, W)."""
        x, weight, _, stride, padding, dilation, *_, groups = args
        if self._scratch == "reordered" and weight.shape[2:] == (3, 3) and weight.dtype == torch.float32:
            plain = (*stride, *padding, *dilation) == (1,) * 6 and groups == 1
            side = side_of(x.shape, len(weight)) if plain else None
            if side and not keeps(x.shape, side):
                return room_bytes(x.shape, len(weight), side, kept=False)
            if side:
                return room_bytes(x.shape, len(weight), side, kept=True) + self._made_bytes(x, weight, side)
        if self._scratch == "unfolded" and weight[0, 0].numel() > 1:
            return weight[0].numel() * (result.numel() // len(weight)) * weight.itemsize
        return weight.numel() * weight.itemsize if self._scratch == "reordered" else 0

    def _made_bytes(self, x: Tensor, weight: Tensor, side: int) -> int:
        """Of spread weights that find no room to be kept, and end with the call."""
        size, key = spread_bytes(x.shape[1], len(weight), side), weight.untyped_storage()._cdata
        if size + sum(self.kept.values()) - self.kept.get(key, 0) <= self._most_kept:
            self.kept[key] = size
            return 0
        return size


class _Fused(TorchFunctionMode):
    """In the place of attention, only its result, laid out as fused kernels write it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            batch, heads, queries, _ = args[0].shape
            return args[0].new_empty(batch, queries, heads, args[2].shape[3]).transpose(1, 2)
        return func(*args, **(kwargs or {}))
