"""Picture to picture (SDEdit): noise is put on a picture, and the way back leads to another one like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.generation.order import Order, Progress
from sfumato.generation.request import Label, Prompt, Request
from sfumato.generation.tasks.times import begun
from sfumato.images import Images
from sfumato.seeds import Stream, noise

__all__ = ["edit", "noised", "sized"]


def edit(
    model: Model,
    picture: np.ndarray,
    strength: float,
    n: int = 1,
    *,
    request: Request | None = None,
    seed: int | Sequence[int] = 0,
    label: Label | np.ndarray = None,
    prompt: Prompt = None,
    batch: int = 64,
    progress: Progress = None,
) -> Images:
    """Pictures like this one (Meng et al. 2022, "SDEdit", algorithm 1). Several of them are variations.

    x_t = α_t·x_0 + σ_t·ε at t = strength, ε being the noise that the seed starts from; from there the solver goes down
    to the data, in all the steps that the request asks for. Each n has a noise of its own.

    Args:
        model: the model.
        picture: uint8 (H, W, C), of a size and with the channels that the model takes.
        strength: the time t at which it begins, in (0, 1]. At 1 the picture plays no part: it is a plain sample.
        n, seed, batch: as for `Model.sample`.
        request: how they are asked for; its size is that of the picture.
        label, prompt: what they are to show; not given: no label, no prompt.
        progress: is called with the number of pictures done.

    Raises:
        InputError: for a strength out of range or with times of one's own, a picture that does not fit, and as
            `Model.sample` does.
    """
    request = begun(model, sized(request or Request(), picture), strength)
    order = Order.of(model, request, n, seed, label, prompt, drawn=False)
    table, x0 = model.table(request), model.encoded(picture[None])
    t = float(table.times[0])

    def begin(part: slice) -> Tensor:
        return model.start(order.seeds[part], request.size, t) if strength == 1 else noised(order, x0, t, part)

    pictures = order.made(table, begin, batch=batch, progress=progress)
    return order.signed(pictures, "edit", strength=float(strength))


def sized(request: Request, picture: np.ndarray) -> Request:
    """The request, for pictures of the size of this one, (H, W, C)."""
    if picture.ndim != 3:
        raise InputError(f"a picture must be uint8 (H, W, C), not {picture.dtype} {picture.shape}")
    size = (picture.shape[0], picture.shape[1])
    if request.size not in (None, size):
        raise InputError(f"the picture is {_shown(size)}, the size asked for {_shown(request.size)}")
    return replace(request, size=size)


def noised(order: Order, x0: Tensor, t: float, part: slice) -> Tensor:
    """x_t of x_0 (N or 1, C, H, W), with the noise that the seeds of these pictures start from."""
    fresh = noise(order.seeds[part], tuple(x0.shape[1:]), Stream.START).to(x0)
    return order.model.diffusion.noisy(x0, t, fresh)


def _shown(size: tuple[int, int] | None) -> str:
    return "any" if size is None else f"{size[1]}x{size[0]}"
