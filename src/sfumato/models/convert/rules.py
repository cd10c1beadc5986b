"""How one tensor of ours is stored elsewhere, in both directions at once.

A conversion is a list of `Rule`. `read` and `write` apply it; each tensor must have its place, each place its tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.errors import InputError

__all__ = [
    "Lens",
    "Rule",
    "headwise",
    "layer",
    "layers",
    "matrix",
    "read",
    "same_shape",
    "spare_row",
    "to_ours",
    "to_theirs",
    "write",
]


class Lens(NamedTuple):
    """One change of form: `read` makes theirs ours, `write` undoes it, bit by bit."""

    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor], Tensor]


class Rule(NamedTuple):
    """Our tensor and its names there: several are the parts of ours, one after the other along the first axis."""

    ours: str
    theirs: tuple[str, ...]
    lenses: tuple[Lens, ...] = ()  # in the order of reading


def matrix(axes: int = 2) -> Lens:
    """A 1x1 convolution whose weight elsewhere has other axes: 2 for a linear layer, 3 for a 1-d convolution."""

    def with_axes(w: Tensor, axes: int) -> Tensor:
        return w if w.ndim == 1 else w.reshape(*w.shape[:2], *[1] * (axes - 2))  # a bias has one axis everywhere

    return Lens(lambda w: with_axes(w, 4), lambda w: with_axes(w, axes))


def headwise(heads: int) -> Lens:
    """Query, key and value head by head (q₁ k₁ v₁ q₂ …), where ours has all queries first."""
    return Lens(
        lambda w: w.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2),
        lambda w: w.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2),
    )


def spare_row() -> Lens:
    """A table of classes that elsewhere has no row for "no class": ours gets one of zeros."""
    return Lens(lambda w: torch.cat([w, torch.zeros_like(w[:1])]), lambda w: w[:-1])


def layer(ours: str, theirs: str | Sequence[str], *lenses: Lens) -> list[Rule]:
    """Weight and bias of a layer."""
    names = (theirs,) if isinstance(theirs, str) else tuple(theirs)
    return [Rule(f"{ours}.{p}", tuple(f"{name}.{p}" for name in names), lenses) for p in ("weight", "bias")]


def layers(ours: str, theirs: str, names: Mapping[str, str]) -> list[Rule]:
    """Layers below `ours` and `theirs` that differ in name only."""
    return [rule for a, b in names.items() for rule in layer(f"{ours}.{a}", f"{theirs}.{b}")]


def to_ours(rule: Rule, parts: Sequence[Tensor]) -> Tensor:
    """Our tensor from theirs, in the order of `rule.theirs`."""
    value = torch.cat([*parts]) if len(parts) > 1 else parts[0]
    for lens in rule.lenses:
        value = lens.read(value)
    return value


def to_theirs(rule: Rule, value: Tensor) -> dict[str, Tensor]:
    """The inverse: their tensors by name."""
    for lens in reversed(rule.lenses):
        value = lens.write(value)
    return dict(zip(rule.theirs, value.chunk(len(rule.theirs)), strict=True))


def same_shape(a: torch.Size, b: torch.Size) -> bool:
    """Whether two shapes differ at most by axes of length 1 at their end."""
    return _bare(a) == _bare(b)


def read(
    rules: Sequence[Rule], tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], what: str
) -> dict[str, Tensor]:
    """Their tensors as ours.

    Args:
        rules: one for each tensor of ours.
        tensors: theirs. Axes of length 1 at the end of a shape do not matter.
        shapes: of ours, by name.
        what: theirs, in error messages.

    Raises:
        InputError: for a tensor that is missing, has no place, has another shape or holds NaN or infinity, by its name
            there.
    """
    _check_names({name for rule in rules for name in rule.theirs}, set(tensors), what)
    result = {}
    for rule in rules:
        form = to_theirs(rule, torch.empty(shapes[rule.ours], device="meta"))
        for name, like in form.items():
            if not same_shape(tensors[name].shape, like.shape):
                raise InputError(f"{what}: {name} has the shape {tuple(tensors[name].shape)}, not {tuple(like.shape)}")
            if not tensors[name].isfinite().all():
                raise InputError(f"{what}: {name} holds NaN or infinity")
        result[rule.ours] = to_ours(rule, [tensors[name].reshape(like.shape) for name, like in form.items()])
    return result


def write(rules: Sequence[Rule], tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Our tensors as theirs. Raises `InputError` for one that is missing, or that has no place there."""
    _check_names({rule.ours for rule in rules}, set(tensors), what)
    result = {}
    for rule in rules:
        result |= {name: value.contiguous() for name, value in to_theirs(rule, tensors[rule.ours]).items()}
    return result


def _check_names(expected: set[str], found: set[str], what: str) -> None:
    missing, surplus = sorted(expected - found), sorted(found - expected)
    if missing or surplus:
        first = f"{missing[0]} is missing" if missing else f"there is no place for {surplus[0]}"
        raise InputError(f"{what}: {first} ({len(missing)} tensors missing, {len(surplus)} too many)")


def _bare(shape: torch.Size) -> tuple[int, ...]:
    """A shape without the axes of length 1 at its end."""
    sizes = list(shape)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)
