"""3x3 convolution by Winograd's F(4x4, 3x3) as an operation of torch, with its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.kernels.build import library

__all__ = ["Conv2d", "conv3x3", "fits", "scratch_bytes"]

LANES = 8  # channels are taken so many at a time
LEAST_CHANNELS = 32
LEAST_TILES = 16  # of 4x4 outputs; with fewer, transforming the weights takes longer than is gained
LEAST_FILLED = 0.4  # share of the tiles' outputs that lie within the picture
LEAST_WORK = 2**20  # N·H·W·C·K; below it, calling takes longer than is gained


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`, which goes the way that is fastest on a CPU.

    3x3 by our kernel; 1x1 as a matrix product where there are gradients to come, which torch's convolution is slow to
    make; all else by torch's convolution.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(N, C, H, W) -> (N, K, H', W')."""
        x = input
        plain = self.stride == (1, 1) and self.groups == 1 and self.dilation == (1, 1)
        if not plain or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        if self.kernel_size == (1, 1) and self.padding == (0, 0) and torch.is_grad_enabled():
            rows = F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
            return rows.permute(0, 3, 1, 2)
        if self.kernel_size == (3, 3) and self.padding == (1, 1) and fits(x.shape, self.out_channels):
            return conv3x3(x, self.weight, self.bias)
        return super().forward(x)


def fits(shape: Sequence[int], channels_out: int) -> bool:
    """Whether the kernel is there, can do it, and gains by it. `shape`: (N, C, H, W) of the input."""
    n, c, height, width = shape
    tiles = n * -(-height // 4) * -(-width // 4)
    gains = (
        min(c, channels_out) >= LEAST_CHANNELS
        and tiles >= LEAST_TILES
        and n * height * width * c * channels_out >= LEAST_WORK
        and n * height * width >= LEAST_FILLED * 16 * tiles
    )
    return gains and c % LANES == 0 and channels_out % LANES == 0 and library() is not None


def scratch_bytes(shape: Sequence[int], channels_out: int) -> int:
    """What `conv3x3` takes for itself while its result exists: spread weights, and a few tiles at all places."""
    kernels, (n, c, height, width) = library(), shape
    assert kernels is not None
    sizes = (n, height, width, c, channels_out, torch.get_num_threads())
    return 4 * (kernels.sfumato_transformed_size(c, channels_out) + kernels.sfumato_convolve_room(*sizes))


@torch.library.custom_op("sfumato::conv3x3", mutates_args=(), device_types="cpu")
def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (N, C, H, W) and weight (K, C, 3, 3), float32 -> (N, K, H, W), with a border of zeros.

    C and K are multiples of 8. Its result is as exact as float32 sums in another order: about 5e-6 of the largest
    number (tests/networks/kernels).
    """
    return _convolved(x, weight.permute(2, 3, 1, 0), bias)


@torch.library.custom_op("sfumato::conv3x3_weight_gradient", mutates_args=(), device_types="cpu")
def conv3x3_weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the weights, (K, C, 3, 3), for x (N, C, H, W) and the gradient of the output (N, K, H, W)."""
    x, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (x, gradient))
    (n, c, height, width), k = x.shape, gradient.shape[1]
    result, kernels = torch.empty(3, 3, c, k), library()
    assert kernels is not None
    pointers = (x.data_ptr(), gradient.data_ptr(), result.data_ptr())
    if kernels.sfumato_weight_gradient(*pointers, n, height, width, c, k, torch.get_num_threads()):
        raise MemoryError("no memory is left for the gradient of a convolution")
    return result.permute(3, 2, 0, 1)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (N, C, H, W) with weight (3, 3, C, K), in any memory order."""
    x, weight = x.contiguous(memory_format=torch.channels_last), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    (n, c, height, width), k, threads, kernels = x.shape, weight.shape[3], torch.get_num_threads(), library()
    assert kernels is not None
    spread = torch.empty(kernels.sfumato_transformed_size(c, k))
    kernels.sfumato_transform_weights(weight.data_ptr(), spread.data_ptr(), c, k, threads)
    del weight
    y = torch.empty((n, k, height, width), memory_format=torch.channels_last)
    pointers = (x.data_ptr(), spread.data_ptr(), 0 if bias is None else bias.data_ptr(), y.data_ptr())
    if kernels.sfumato_convolve(*pointers, n, height, width, c, k, threads):
        raise MemoryError("no memory is left for a convolution")
    return y


@conv3x3.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


@conv3x3_weight_gradient.register_fake
def _(x: Tensor, gradient: Tensor) -> Tensor:
    return x.new_empty(3, 3, x.shape[1], gradient.shape[1]).permute(3, 2, 0, 1)


def _keep(ctx, inputs, output) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _gradients(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The input's gradient is the gradient convolved with the weights turned by 180°, inputs and outputs exchanged."""
    x, weight = ctx.saved_tensors
    wants = ctx.needs_input_grad
    dx = conv3x3(gradient, weight.flip(2, 3).transpose(0, 1), None) if wants[0] else None
    dw = conv3x3_weight_gradient(x, gradient) if wants[1] else None
    return dx, dw, gradient.sum((0, 2, 3)) if wants[2] else None


conv3x3.register_autograd(_gradients, setup_context=_keep)
