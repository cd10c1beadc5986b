"""Inpainting: a part of a picture is made new, the rest stays what it is, to the bit. Outpainting is the same on a
larger canvas (`mask.enlarged`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.generation.order import Order, Progress
from sfumato.generation.request import Label, Prompt, Request
from sfumato.generation.tasks.edit import noised, sized
from sfumato.generation.tasks.mask import check_mask, pasted, reduced
from sfumato.generation.tasks.times import NO_RESAMPLING, Resampling, begun, table_of
from sfumato.guidance.known import held
from sfumato.images import Images

__all__ = ["inpaint"]


def inpaint(
    model: Model,
    picture: np.ndarray,
    mask: np.ndarray,
    n: int = 1,
    *,
    request: Request | None = None,
    seed: int | Sequence[int] = 0,
    label: Label | np.ndarray = None,
    prompt: Prompt = None,
    strength: float = 1.0,
    resampling: Resampling = NO_RESAMPLING,
    feather: int = 0,
    batch: int = 64,
    progress: Progress = None,
) -> Images:
    """Make a part of a picture new.

    A model made for it (a network that also sees the mask and the picture without that part) is told of both. Any
    other is held to what is known (`guidance.known`): every x̂0 has the known part as it is. Among latents, a position
    is known where all its pixels are. At the end the known pixels themselves are put back.

    Args:
        model, picture, n, request, seed, label, prompt, batch, progress: as for `edit`.
        mask: bool or uint8 (H, W), white where the picture is to be made new.
        strength: below 1, what was under the mask is not forgotten: it begins there as in `edit`.
        resampling: makes what is new fit better what is known; it costs `repeats` times the network calls.
        feather: width in pixels over which the known part is blended into what was made; 0: it stays to the bit. For
            models of latents, and those that see the mask: what they make of the known part differs from it a little.

    Raises:
        InputError: for a mask that does not fit (see `check_mask`), resampling with a model made for inpainting, a
            feather where there is nothing to blend, and as `edit` does.
    """
    new = check_mask(mask, picture)
    pasted(picture[None], picture, new, feather)  # a wrong feather shows before the work
    request = begun(model, sized(request or Request(), picture), strength)
    order = Order.of(model, request, n, seed, label, prompt, drawn=False)
    table, x0 = table_of(model, request, resampling), model.encoded(picture[None])
    latent = torch.from_numpy(reduced(new, len(picture) // x0.shape[2])).to(model.device)[None, None]
    t, size = float(table.times[0]), request.size
    if _sees_masks(model):
        if resampling.repeats != 1:
            raise InputError(f"model {model.spec.name!r} sees what is known; leave resampling out")
        seen = torch.cat([latent.to(x0), _without(model, picture, new)], dim=1)
        order = replace(order, asked=replace(order.asked, pictures=seen.expand(n, -1, -1, -1)))
        around, free = None, torch.ones_like(latent)
    else:
        if feather and model.spec.autoencoder is None:
            raise InputError("there is nothing to feather: every known pixel comes out as it is; leave feather out")
        around, free = partial(held, known=x0, new=latent), latent

    def begin(part: slice) -> Tensor:
        fit = noised(order, x0, t, part)
        return fit if strength < 1 else torch.where(free, model.start(order.seeds[part], size, t), fit)

    made = order.made(table, begin, around=around, batch=batch, progress=progress)
    facts = {"strength": float(strength), "feather": feather, "new": float(new.mean()), **resampling.facts()}
    return order.signed(pasted(made, picture, new, feather), "inpaint", **facts)


def _sees_masks(model: Model) -> bool:
    """Whether the network sees a mask and a masked picture besides x_t: C + 1 + C channels.

    Raises `InputError` for a network with further channels of another kind.
    """
    channels, seen = model.spec.shape()[0], model.spec.network.in_channels
    if seen not in (channels, 2 * channels + 1):
        raise InputError(
            f"the network of {model.spec.name!r} sees {seen} channels; inpainting knows those that see {channels}, or "
            f"{2 * channels + 1} with a mask and a masked picture"
        )
    return seen != channels


def _without(model: Model, picture: np.ndarray, new: np.ndarray) -> Tensor:
    """What is diffused of the picture, (1, C, h, w), with middle grey (128, to half a level) where it is new."""
    return model.encoded(np.where(new[:, :, None], np.uint8(128), picture)[None])
