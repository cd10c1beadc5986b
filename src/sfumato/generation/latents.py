"""From pictures to the noise they are made of, from noise to pictures, and the pictures between two."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.generation.model import Model
from sfumato.generation.provenance import MARK
from sfumato.generation.request import Label, Request
from sfumato.images import Images
from sfumato.solvers import get, solve
from sfumato.solvers.inversion import inversion, slerp

__all__ = ["decode", "interpolate", "invert"]


def invert(
    model: Model,
    pictures: np.ndarray,
    label: Label | np.ndarray = None,
    *,
    steps: int = 50,
    solver: str = "heun",
    spacing: str | None = None,
    guidance_scale: float = 1.0,
) -> Tensor:
    """The noise at t = 1 that `decode` with the same arguments makes these pictures of, but for the solver's error.

    Args:
        model: the model.
        pictures: uint8 (N, H, W, C).
        label: of the pictures; None is no label. A model that reads texts is given none.
        steps, solver, spacing: of the way up; deterministic solvers only.
        guidance_scale: w. Above 1 the way back is less exact: guidance drives pictures from where noise leads.

    Returns:
        (N, C, H, W).

    Raises:
        InputError: for pictures that are not uint8 (N, H, W, C) of a size and with the channels that the model takes.
    """
    x0 = model.encoded(pictures)
    table = inversion(solver, model.diffusion.schedule, steps, spacing)
    alpha = model.diffusion.schedule.alpha(float(table.times[0]))
    return solve(_denoiser(model, len(x0), label, guidance_scale), alpha * x0, table)


def decode(
    model: Model,
    noise: Tensor,
    label: Label | np.ndarray = None,
    *,
    steps: int = 50,
    solver: str = "heun",
    spacing: str | None = None,
    guidance_scale: float = 1.0,
) -> Images:
    """The pictures made of this noise (N, C, H, W) at t = 1, with a deterministic solver. Arguments as in `invert`."""
    table = get(solver, model.diffusion.schedule, steps, spacing)
    if table.stochastic:
        raise InputError(f"solver {solver!r} draws noise; the same picture comes back only from one that does not")
    if table.times[0] != 1:
        raise InputError(f"spacing {spacing!r} does not begin at t = 1, where the noise is; take another")
    x = solve(_denoiser(model, len(noise), label, guidance_scale), noise, table)
    facts = {"model": model.spec.name, "solver": table.name, "steps": table.steps, "from": "noise that was given"}
    return Images(model.pictures(x), [{**MARK, "sfumato": json.dumps(facts)}] * len(noise))


def interpolate(
    model: Model,
    a: np.ndarray,
    b: np.ndarray,
    n: int = 8,
    label: Label = None,
    *,
    steps: int = 50,
    solver: str = "heun",
    spacing: str | None = None,
    guidance_scale: float = 1.0,
) -> Images:
    """n pictures from `a` to `b`, both uint8 (H, W, C): their noises are mixed along an arc, which keeps the variance.

    The first and the last are a and b as the model sees them. Arguments as in `invert`.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise InputError(f"between two pictures there are at least the two, not {n}")
    if a.shape != b.shape:
        raise InputError(f"the pictures differ in shape: {a.shape} and {b.shape}")
    how = {"steps": steps, "solver": solver, "spacing": spacing, "guidance_scale": guidance_scale}
    noise = invert(model, np.stack([a, b]), label, **how)
    way = torch.cat([slerp(noise[:1], noise[1:], share) for share in np.linspace(0, 1, n).tolist()])
    return decode(model, way, label, **how)


def _denoiser(model: Model, n: int, label: Label | np.ndarray, guidance_scale: float):
    seeds: Sequence[int] = range(n)
    text = model.spec.text is not None
    asked = model.ask(seeds, "none" if label is None and not text else label, "" if text else None)
    scale = model.guidance_scale(Request(guidance_scale=guidance_scale), asked)
    return model.denoiser(asked, scale, clip=False)
