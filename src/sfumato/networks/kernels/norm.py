"""Group normalisation and what follows it in a residual block, as one operation of torch, with its gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from sfumato.networks.kernels.build import available, library
from sfumato.networks.kernels.eager import eager, native

__all__ = ["GroupNorm", "apart", "normalised", "plainly_normalised"]

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

    def forward(
        self,
        input: Tensor,  # noqa: A002 (torch's own name)
        added: Tensor | None = None,
        film: Tensor | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W).

        Args:
            input: the picture, or its first channels.
            added: (N, C), added before the normalisation (Ho et al. 2020).
            film: (N, 2C) scales s and shifts b: the normalised becomes (1 + s)·h + b (Dhariwal & Nichol 2021, eq. 6).
            beside: the other channels, where these do not lie in one tensor.
        """
        x, parts = input, (input,) if beside is None else (input, beside)
        arguments = (x, self.weight, self.bias, added, film, self.num_groups, self.eps, self.silu, beside)
        whole = x.ndim == 4 and sum(part.shape[1] for part in parts) == self.num_channels
        whole = whole and all((len(part), *part.shape[2:]) == (len(x), *x.shape[2:]) for part in parts)
        if whole and x.numel() and self.weight.dtype == torch.float32 and apart(*parts):
            return normalised(*arguments)
        return plainly_normalised(*arguments)


def apart(*parts: Tensor) -> bool:
    """Whether our kernel takes pictures whose channels lie in these tensors; elsewhere they are joined at once."""
    fitting = all(part.dtype == torch.float32 and part.shape[1] % LANES == 0 for part in parts)
    return fitting and parts[0].device.type == "cpu" and not torch.is_autocast_enabled("cpu") and available()


def plainly_normalised(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    film: Tensor | None,
    groups: int,
    eps: float,
    silu: bool,
    beside: Tensor | None = None,
) -> Tensor:
    """As `normalised`, by torch's own operations: for all devices and number types."""
    x = x if beside is None else torch.cat([x, beside], dim=1)
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
    beside: Tensor | None = None,
) -> Tensor:
    """Group normalisation (Wu & He 2018) of x + added, times 1 + scale plus shift, through SiLU. All float32.

    Mean and variance are of double precision. For the gradients nothing is kept but x and these.

    Args:
        x: (N, C, H, W), C a multiple of 8; or with `beside` its first channels.
        weight, bias: (C,).
        added: (N, C); None: nothing is added.
        film: (N, 2C), scales and then shifts; None: neither.
        groups, eps: as of `nn.GroupNorm`.
        silu: whether SiLU follows.
        beside: (N, C', H, W), the other channels of x: nothing is joined for it. C' is a multiple of 8 too.
    """
    arguments = (x, weight, bias, added, film, groups, eps, silu, beside)
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
    beside: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The result; mean and 1/√(variance + eps), (2, N, groups) float64."""
    x, kernels = x.contiguous(memory_format=torch.channels_last), library()
    beside = None if beside is None else beside.contiguous(memory_format=torch.channels_last)
    weight, bias = weight.contiguous(), bias.contiguous()
    added, film = (None if t is None else t.contiguous() for t in (added, film))
    assert kernels is not None
    n, c, height, width = x.shape
    whole = c if beside is None else c + beside.shape[1]
    y = torch.empty((n, whole, height, width), memory_format=torch.channels_last)
    moments = torch.empty((2, n, groups), dtype=torch.float64)
    sizes = (n, height * width, whole, c, groups, eps, silu, torch.get_num_threads())
    native(kernels.sfumato_normalise, x, beside, weight, bias, added, film, y, moments, *sizes, wrote=y)
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
    beside: Tensor | None,
) -> list[Tensor]:
    """Of x, weight, bias, and of added, film and beside where there are such."""
    x, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (x, gradient))
    beside = None if beside is None else beside.contiguous(memory_format=torch.channels_last)
    weight, bias = weight.contiguous(), bias.contiguous()
    added, film = (None if t is None else t.contiguous() for t in (added, film))
    kernels, (n, c, height, width) = library(), x.shape
    assert kernels is not None
    told = (x, beside, weight, bias, added, film)
    into = [None if t is None else torch.empty_like(t) for t in told]
    dx, dbeside, *others = into
    assert dx is not None
    sizes = (n, height * width, gradient.shape[1], c, groups, silu, torch.get_num_threads())
    native(kernels.sfumato_normalise_gradients, *told, gradient, moments, *into, *sizes, wrote=dx)
    return [t for t in (dx, *others, dbeside) if t is not None]


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
    beside: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return _normalised(x, weight, bias, added, film, groups, eps, silu, beside)


@_operation.register_fake
def _(x, weight, bias, added, film, groups, eps, silu, beside):
    whole = x.shape[1] if beside is None else x.shape[1] + beside.shape[1]
    y = x.new_empty((x.shape[0], whole, *x.shape[2:])).contiguous(memory_format=torch.channels_last)
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
    beside: Tensor | None,
) -> list[Tensor]:
    return _gradients(gradient, moments, x, weight, bias, added, film, groups, silu, beside)


@_gradients_operation.register_fake
def _(gradient, moments, x, weight, bias, added, film, groups, silu, beside):
    dx, *dbeside = (
        torch.empty_like(t).contiguous(memory_format=torch.channels_last) for t in (x, beside) if t is not None
    )
    return [dx, *(torch.empty_like(t) for t in (weight, bias, added, film) if t is not None), *dbeside]


# ---- gradients -------------------------------------------------------------------------------------------------------


def _keep(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *inputs[:5], inputs[8])
    ctx.rest = inputs[5:8]


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    moments, x, weight, bias, added, film, beside = ctx.saved_tensors
    inputs, (groups, eps, silu) = (x, weight, bias, added, film, beside), ctx.rest
    wants = (*ctx.needs_input_grad[:5], ctx.needs_input_grad[8])
    if torch.is_grad_enabled():  # gradients of these gradients are wanted
        wanted = [t for t, want in zip(inputs, wants, strict=True) if want]
        y = plainly_normalised(x, weight, bias, added, film, groups, eps, silu, beside)
        made = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True))
        found = [next(made) if want else None for want in wants]
    else:
        work = _gradients if eager(gradient) else torch.ops.sfumato.normalised_gradients
        made = iter(work(gradient, moments, x, weight, bias, added, film, groups, silu, beside))
        found = [None if t is None else next(made) for t in inputs]
    return *found[:5], None, None, None, found[5]


_operation.register_autograd(_backward, setup_context=_keep)


class _Normalised(Function):
    forward = staticmethod(_normalised)
    setup_context = staticmethod(_keep)
    backward = staticmethod(_backward)  # type: ignore[assignment] (declared for any number)
