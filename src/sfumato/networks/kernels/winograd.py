"""3x3 convolution by Winograd's method as an operation of torch, with its gradients.

The input's gradient is the gradient convolved with the weights turned by 180°, inputs and outputs exchanged. So three
operations (convolution, turned convolution, gradient of the weights) are each other's gradients, of any order.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from sfumato.networks.kernels.build import library
from sfumato.networks.kernels.eager import eager, native

__all__ = ["conv3x3", "convolved", "room_bytes", "spread", "spread_bytes", "weight_gradient"]

MOST_HELD = 2**24  # floats: 64 MiB
_HELD = threading.local()


def conv3x3(
    x: Tensor, weight: Tensor, bias: Tensor | None, turned: bool = False, added: Tensor | None = None
) -> Tensor:
    """x (N, C, H, W) and weight (K, C, 3, 3), float32 -> (N, K, H, W), with a border of zeros, by F(4x4, 3x3).

    C and K are multiples of 8. Its result is as exact as float32 sums in another order: about 5e-6 of the largest
    number (tests/networks/kernels).

    Args:
        turned: the weights turned by 180°, inputs and outputs exchanged: x (N, K, H, W) -> (N, C, H, W).
        added: what to add to the result, of its shape.
    """
    if not eager(x):
        return torch.ops.sfumato.conv3x3(x, weight, bias, turned, added)
    work = _Convolution.apply if torch.is_grad_enabled() else _convolution
    return work(x, weight, bias, turned, added)


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the weights, (K, C, 3, 3), for x (N, C, H, W) and the gradient of the output (N, K, H, W)."""
    if not eager(x):
        return torch.ops.sfumato.conv3x3_weight_gradient(x, gradient)
    return _WeightGradient.apply(x, gradient) if torch.is_grad_enabled() else _weight_gradient(x, gradient)


# ---- the kernels -----------------------------------------------------------------------------------------------------


def spread(weight: Tensor, side: int, lasting: bool = True) -> Tensor:
    """Weights (K, C, 3, 3), in any memory order, as `convolved` takes them.

    Args:
        side: 4 for F(4x4, 3x3), 2 for F(2x2, 3x3).
        lasting: false for what lasts until this thread's next call only, in memory that is used again and again.
    """
    kernels, (out, into, down, right) = library(), weight.stride()
    assert kernels is not None
    columns, rows = weight.shape[:2]
    size = kernels.sfumato_spread_size(rows, columns, side)
    made = torch.empty(size) if lasting else _held(size)
    steps, threads = (into, out, down, right), torch.get_num_threads()
    native(kernels.sfumato_spread_weights, weight, made, rows, columns, *steps, side, threads, wrote=made)
    return made


def convolved(
    x: Tensor, spread: Tensor, bias: Tensor | None, channels_out: int, side: int, added: Tensor | None = None
) -> Tensor:
    """x (N, C, H, W) -> (N, K, H, W), by weights that `spread` made for this side. `added` as of `conv3x3`."""
    kernels = library()
    assert kernels is not None
    sizes = (side, torch.get_num_threads())
    return _made(kernels.sfumato_convolve, x, spread, bias, added, channels_out, *sizes)


def room_bytes(shape: Sequence[int], channels_out: int, side: int, kept: bool) -> int:
    """What a convolution takes for itself while its result exists: a few tiles at all places.

    Args:
        kept: `convolved`; else `conv3x3`, which spreads its weights too, all of them or a few at a time.
    """
    kernels, (n, c, height, width) = library(), shape
    assert kernels is not None
    return 4 * kernels.sfumato_convolve_room(n, height, width, c, channels_out, side, kept, torch.get_num_threads())


def spread_bytes(channels_in: int, channels_out: int, side: int) -> int:
    """Of what `spread` makes."""
    kernels = library()
    assert kernels is not None
    return 4 * kernels.sfumato_spread_size(channels_in, channels_out, side)


def _held(floats: int) -> Tensor:
    """At least so many; fresh pages can cost as much as what is done with them."""
    found = getattr(_HELD, "floats", None)
    if found is None or len(found) < floats:
        found = torch.empty(floats)
        if floats <= MOST_HELD:
            _HELD.floats = found
    return found


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, turned: bool, added: Tensor | None) -> Tensor:
    kernels, (out, into, down, right) = library(), weight.stride()
    assert kernels is not None
    steps = (out, into) if turned else (into, out)
    rest = (*steps, down, right, turned, torch.get_num_threads())
    return _made(kernels.sfumato_convolve_once, x, weight, bias, added, weight.shape[1 if turned else 0], *rest)


def _made(
    work: Any, x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None, channels_out: int, *rest: int
) -> Tensor:
    """What a kernel makes of x (N, C, H, W): (N, K, H, W)."""
    x = x.contiguous(memory_format=torch.channels_last)
    bias = None if bias is None else bias.contiguous()
    n, c, height, width = x.shape
    y = torch.empty((n, channels_out, height, width), memory_format=torch.channels_last)
    added = None if added is None else added.expand_as(y).contiguous(memory_format=torch.channels_last)
    native(work, x, weight, bias, added, y, n, height, width, c, channels_out, *rest, wrote=y)
    return y


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    x, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (x, gradient))
    (n, c, height, width), k, kernels = x.shape, gradient.shape[1], library()
    assert kernels is not None
    result = torch.empty((k, c, 3, 3), memory_format=torch.channels_last)
    sizes = (n, height, width, c, k, torch.get_num_threads())
    native(kernels.sfumato_weight_gradient, x, gradient, result, *sizes, wrote=result)
    return result


# ---- as operations of torch ------------------------------------------------------------------------------------------


@torch.library.custom_op("sfumato::conv3x3", mutates_args=(), device_types="cpu")
def _conv3x3_operation(x: Tensor, weight: Tensor, bias: Tensor | None, turned: bool, added: Tensor | None) -> Tensor:
    return _convolution(x, weight, bias, turned, added)


@_conv3x3_operation.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, turned: bool, added: Tensor | None) -> Tensor:
    shape = (x.shape[0], weight.shape[1 if turned else 0], *x.shape[2:])
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("sfumato::conv3x3_weight_gradient", mutates_args=(), device_types="cpu")
def _weight_gradient_operation(x: Tensor, gradient: Tensor) -> Tensor:
    return _weight_gradient(x, gradient)


@_weight_gradient_operation.register_fake
def _(x: Tensor, gradient: Tensor) -> Tensor:
    return x.new_empty(gradient.shape[1], x.shape[1], 3, 3).contiguous(memory_format=torch.channels_last)


# ---- gradients -------------------------------------------------------------------------------------------------------


def _keep_convolution(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, weight, _, ctx.turned, _ = inputs
    ctx.save_for_backward(x, weight)


def _convolution_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (x, weight), wants = ctx.saved_tensors, ctx.needs_input_grad
    dx = conv3x3(gradient, weight, None, not ctx.turned) if wants[0] else None
    ends = (gradient, x) if ctx.turned else (x, gradient)
    dw = weight_gradient(*ends) if wants[1] else None
    return dx, dw, gradient.sum((0, 2, 3)) if wants[2] else None, None, gradient if wants[4] else None


def _keep_weight_gradient(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _weight_gradient_gradients(ctx: Any, dw: Tensor) -> tuple[Tensor | None, Tensor | None]:
    (x, gradient), wants = ctx.saved_tensors, ctx.needs_input_grad
    return (
        conv3x3(gradient, dw, None, turned=True) if wants[0] else None,
        conv3x3(x, dw, None) if wants[1] else None,
    )


_conv3x3_operation.register_autograd(_convolution_gradients, setup_context=_keep_convolution)
_weight_gradient_operation.register_autograd(_weight_gradient_gradients, setup_context=_keep_weight_gradient)


class _Convolution(Function):
    forward = staticmethod(_convolution)
    setup_context = staticmethod(_keep_convolution)
    backward = staticmethod(_convolution_gradients)  # type: ignore[assignment] (declared for any number)


class _WeightGradient(Function):
    forward = staticmethod(_weight_gradient)
    setup_context = staticmethod(_keep_weight_gradient)
    backward = staticmethod(_weight_gradient_gradients)  # type: ignore[assignment] (declared for any number)
