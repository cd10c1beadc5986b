"""The pictures between two prompts, with one noise; and between two noises, with one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.generation.order import Order, Progress
from sfumato.generation.request import Label, Prompt, Request
from sfumato.images import Images
from sfumato.networks.condition import Condition
from sfumato.solvers.inversion import slerp

__all__ = ["between_prompts", "between_seeds", "mixed", "shares"]


def between_prompts(
    model: Model,
    a: str,
    b: str,
    n: int = 8,
    *,
    request: Request | None = None,
    seed: int = 0,
    batch: int = 64,
    progress: Progress = None,
) -> Images:
    """n pictures of one seed, from prompt `a` to prompt `b`: what the network is told is mixed linearly (see `mixed`).

    The first and the last are the pictures of a and b themselves.

    Raises:
        InputError: for a model that reads no prompts, fewer than two pictures, a weaker model (which would be told of
            neither), and as `Model.sample` does.
    """
    request, way = request or Request(), shares(n)
    if model.spec.text is None:
        raise InputError(f"model {model.spec.name!r} reads no prompts; between two seeds there is a way too")
    if request.guidance.weak is not None:
        raise InputError("between two prompts there is no autoguidance; leave the weaker model out")
    said = a if a.strip() else b
    order = Order.of(model, request, n, [seed] * n, None, [a, *[said] * (n - 2), b], drawn=False)
    ends = model.condition(replace(order.asked[:2], texts=(a, b)), tell=True)
    table, size = model.table(request), request.size
    t = float(table.times[0])
    pictures = order.made(
        table,
        lambda part: model.start(order.seeds[part], size, t),
        condition=mixed(ends, way),
        batch=batch,
        progress=progress,
    )
    return order.signed(pictures, "between prompts", _told(way))


def between_seeds(
    model: Model,
    a: int,
    b: int,
    n: int = 8,
    *,
    request: Request | None = None,
    label: Label | np.ndarray = None,
    prompt: Prompt = None,
    batch: int = 64,
    progress: Progress = None,
) -> Images:
    """n pictures of one prompt or label, from the noise of seed `a` to that of seed `b`, along an arc.

    The first and the last are the pictures of a and b themselves. What is not given is no label, no prompt.

    Raises:
        InputError: for a solver that draws noise on its way, which has no way between two, fewer than two pictures, and
            as `Model.sample` does.
    """
    request, way = request or Request(), shares(n)
    table, size = model.table(request), request.size
    if table.stochastic:
        raise InputError(f"solver {table.name!r} draws noise of each seed on its way; take another, such as ddim")
    order = Order.of(model, request, n, [a] * (n - 1) + [b], label, prompt, drawn=False)
    noise = model.start([a, b], size, float(table.times[0]))

    def begin(part: slice) -> Tensor:
        return torch.cat([slerp(noise[:1], noise[1:], share) for share in way[part]])

    pictures = order.made(table, begin, batch=batch, progress=progress)
    return order.signed(pictures, "between seeds", _told(way), seeds=[a, b])


def shares(n: int) -> list[float]:
    """n numbers from 0 to 1, evenly spread. Raises `InputError` for fewer than two."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise InputError(f"between two pictures there are at least the two, not {n}")
    return np.linspace(0, 1, n).tolist()


def _told(way: Sequence[float]) -> list[dict[str, float]]:
    return [{"share": share} for share in way]


def mixed(ends: Condition, way: Sequence[float]) -> Condition:
    """Of two conditions with a context (2, L, D), those between them: (1 - s)·a + s·b for each share s, token by token.

    Where only one of the two has a token, it stands as it is for every share but that of the other end, where it is not
    there at all.

    Returns:
        A condition of len(way) contexts; the first and the last, with shares 0 and 1, are a and b.
    """
    assert ends.context is not None  # texts were read
    share = torch.tensor(way, device=ends.context.device)[:, None]
    there = torch.ones(ends.context.shape[:2], device=ends.context.device) if ends.mask is None else ends.mask.float()
    weights = torch.stack([(1 - share) * there[0], share * there[1]])  # (2, n, L)
    total = weights.sum(0)
    a, b = (weights / total.clamp(min=torch.finfo(total.dtype).tiny))[:, :, :, None].to(ends.context)
    mask = None if ends.mask is None else total > 0
    return Condition(context=a * ends.context[0] + b * ends.context[1], mask=mask)
