"""Group normalisation and what follows it in a residual block, as one operation of torch, with its gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from sfumato.networks.kernels.build import available, library
from sfumato.networks.kernels.eager import eager, native

__all__ = ["GroupNorm", "normalised", "plainly_normalised"]

LANES = 8  # channels are taken so many at a time


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` with an embedding of the time, and SiLU after it where wanted.

    Args:
        groups, channels, eps: as of `nn.GroupNorm`.
        silu: whether SiLU follows.
    """

    def __init__(self, groups: int, channels: int, eps: float, silu: bool = False) -> None:
        super().__init__(groups, channels, eps)
        self.silu = silu

    def forward(self, input: Tensor, added: Tensor | None = None, film: Tensor | None = None) -> Tensor:  # noqa: A002
        """(N, C, H, W) -> (N, C, H, W).

        Args:
            input: the picture.
            added: (N, C), added before the normalisation (Ho et al. 2020).
            film: (N, 2C) scales s and shifts b: the normalised becomes (1 + s)·h + b (Dhariwal & Nichol 2021, eq. 6).
        """
        x = input
        arguments = (x, self.weight, self.bias, added, film, self.num_groups, self.eps, self.silu)
        fitting = x.ndim == 4 and x.shape[1] == self.num_channels and x.dtype == self.weight.dtype == torch.float32
        plain = fitting and x.device.type == "cpu" and x.shape[1] % LANES == 0
        if plain and x.numel() and not torch.is_autocast_enabled("cpu") and available():
            return normalised(*arguments)
        return plainly_normalised(*arguments)


def plainly_normalised(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    film: Tensor | None,
    groups: int,
    eps: float,
    silu: bool,
) -> Tensor:
    """As `normalised`, by torch's own operations: for all devices and number types."""
    h = F.group_norm(x if added is None else x + added[:, :, None, None], groups, weight, bias, eps)
    if film is not None:
        scale, shift = film[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, h, 1 + scale)
    return F.silu(h, inplace=not torch.is_grad_enabled()) if silu else h


def normalised(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    film: Tensor | None,
    groups: int,
    eps: float,
    silu: bool,
) -> Tensor:
    """Group normalisation (Wu & He 2018) of x + added, times 1 + scale plus shift, through SiLU. All float32.

    Mean and variance are of double precision. For the gradients nothing is kept but x and these.

    Args:
        x: (N, C, H, W), C a multiple of 8.
        weight, bias: (C,).
        added: (N, C); None: nothing is added.
        film: (N, 2C), scales and then shifts; None: neither.
        groups, eps: as of `nn.GroupNorm`.
        silu: whether SiLU follows.
    """
    arguments = (x, weight, bias, added, film, groups, eps, silu)
    if not eager(x):
        return torch.ops.sfumato.normalised(*arguments)[0]
    return (_Normalised.apply(*arguments) if torch.is_grad_enabled() else _normalised(*arguments))[0]


# ---- the kernels -----------------------------------------------------------------------------------------------------


def _normalised(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    film: Tensor | None,
    groups: int,
    eps: float,
    silu: bool,
) -> tuple[Tensor, Tensor]:
    """The result; mean and 1/√(variance + eps), (2, N, groups) float64."""
    x, kernels = x.contiguous(memory_format=torch.channels_last), library()
    weight, bias = weight.contiguous(), bias.contiguous()
    added, film = (None if t is None else t.contiguous() for t in (added, film))
    assert kernels is not None
    n, c, height, width = x.shape
    y, moments = torch.empty_like(x), torch.empty((2, n, groups), dtype=torch.float64)
    sizes = (n, height * width, c, groups, eps, silu, torch.get_num_threads())
    native(kernels.sfumato_normalise, x, weight, bias, added, film, y, moments, *sizes, wrote=y)
    return y, moments


def _gradients(
    gradient: Tensor,
    moments: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    film: Tensor | None,
    groups: int,
    silu: bool,
) -> list[Tensor]:
    """Of x, weight, bias, and of added and film where there are such."""
    x, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (x, gradient))
    weight, bias = weight.contiguous(), bias.contiguous()
    added, film = (None if t is None else t.contiguous() for t in (added, film))
    kernels, (n, c, height, width) = library(), x.shape
    assert kernels is not None
    into = [None if t is None else torch.empty_like(t) for t in (x, weight, bias, added, film)]
    dx, told, sizes = into[0], (x, weight, bias, added, film), (n, height * width, c, groups, silu)
    assert dx is not None
    work, threads = kernels.sfumato_normalise_gradients, torch.get_num_threads()
    native(work, *told, gradient, moments, *into, *sizes, threads, wrote=dx)
    return [t for t in into if t is not None]


# ---- as operations of torch ------------------------------------------------------------------------------------------


@torch.library.custom_op("sfumato::normalised", mutates_args=(), device_types="cpu")
def _operation(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    film: Tensor | None,
    groups: int,
    eps: float,
    silu: bool,
) -> tuple[Tensor, Tensor]:
    return _normalised(x, weight, bias, added, film, groups, eps, silu)


@_operation.register_fake
def _(x, weight, bias, added, film, groups, eps, silu):
    y = torch.empty_like(x).contiguous(memory_format=torch.channels_last)
    return y, x.new_empty((2, x.shape[0], groups), dtype=torch.float64)


@torch.library.custom_op("sfumato::normalised_gradients", mutates_args=(), device_types="cpu")
def _gradients_operation(
    gradient: Tensor,
    moments: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    film: Tensor | None,
    groups: int,
    silu: bool,
) -> list[Tensor]:
    return _gradients(gradient, moments, x, weight, bias, added, film, groups, silu)


@_gradients_operation.register_fake
def _(gradient, moments, x, weight, bias, added, film, groups, silu):
    dx = torch.empty_like(x).contiguous(memory_format=torch.channels_last)
    return [dx, *(torch.empty_like(t) for t in (weight, bias, added, film) if t is not None)]


# ---- gradients -------------------------------------------------------------------------------------------------------


def _keep(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *inputs[:5])
    ctx.rest = inputs[5:]


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    moments, x, weight, bias, added, film = ctx.saved_tensors
    inputs, (groups, eps, silu) = (x, weight, bias, added, film), ctx.rest
    if torch.is_grad_enabled():  # gradients of these gradients are wanted
        wanted = [t for t, wants in zip(inputs, ctx.needs_input_grad, strict=False) if wants]
        y = plainly_normalised(x, weight, bias, added, film, groups, eps, silu)
        found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True))
        return *(next(found) if wants else None for wants in ctx.needs_input_grad[:5]), None, None, None
    work = _gradients if eager(gradient) else torch.ops.sfumato.normalised_gradients
    found = iter(work(gradient, moments, x, weight, bias, added, film, groups, silu))
    return *(None if t is None else next(found) for t in inputs), None, None, None


_operation.register_autograd(_backward, setup_context=_keep)


class _Normalised(Function):
    forward = staticmethod(_normalised)
    setup_context = staticmethod(_keep)
    backward = staticmethod(_backward)  # type: ignore[assignment] (declared for any number)
