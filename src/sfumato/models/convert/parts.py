"""A U-Net as a list of parts, each with its place: what every other library has too, under a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sfumato.models.convert.rules import Lens, Rule, layer, layers, matrix, spare_row
from sfumato.networks.blank import blank
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet

__all__ = ["Names", "Part", "parts", "shapes", "table_lenses", "unet_rules"]

Way = Literal["down", "middle", "up"]


class Part(NamedTuple):
    """One part of the way down, of the middle, or of the way up."""

    kind: Literal["block", "attention", "resample"]
    way: Way
    level: int  # 0 is the finest
    number: int  # among the blocks of its level; of a change of resolution, their number
    ours: str  # what the names of its tensors begin with


class Names(NamedTuple):
    """What another library calls things.

    Attributes:
        fixed: our layers outside of all parts -> theirs.
        labels: the table of classes.
        block: the layers of a residual block: ours -> theirs.
        place: part -> what the names of its tensors begin with.
        attention: (ours, theirs) of self-attention without text -> its rules.
    """

    fixed: Mapping[str, str]
    labels: str
    block: Mapping[str, str]
    place: Callable[[UNetConfig, Part], str]
    attention: Callable[[str, str, int], list[Rule]]


def parts(config: UNetConfig, own: Container[str]) -> list[Part]:
    """Every part of a U-Net of this shape, in the order of our names. `own`: the names of its tensors."""
    result: list[Part] = []
    inside = ".block" if config.resample == "residual" else ""
    count, blocks = len(config.widths), config.blocks

    def stages(way: Way, level: int, numbers: int, first: int) -> None:
        for number in range(numbers):
            ours = f"{way}.{first + number}"
            result.append(Part("block", way, level, number, f"{ours}.block"))
            if f"{ours}.attention.norm.weight" in own:
                result.append(Part("attention", way, level, number, f"{ours}.attention"))

    for level in range(count):
        first = level * (blocks + 1)
        stages("down", level, blocks, first)
        if level < count - 1:
            result.append(Part("resample", "down", level, blocks, f"down.{first + blocks}{inside}"))
    stages("middle", count - 1, 2, 0)
    for rank, level in enumerate(reversed(range(count))):
        first = rank * (blocks + 2)
        stages("up", level, blocks + 1, first)
        if level > 0:
            result.append(Part("resample", "up", level, blocks + 1, f"up.{first + blocks + 1}{inside}"))
    return result


def shapes(config: UNetConfig) -> dict[str, torch.Size]:
    """The shape of every tensor of a U-Net, by our names."""
    with blank():
        return {name: value.shape for name, value in UNet(config).state_dict().items()}


def unet_rules(config: UNetConfig, names: Names, *, linear: bool = False, labels: tuple[Lens, ...] = ()) -> list[Rule]:
    """The rule of every tensor of a U-Net.

    Args:
        config: its shape, with one kind of label at most, and no text encoder.
        names: what the other library calls things.
        linear: the transformers' first and last layer are written as linear layers, not as 1x1 convolutions.
        labels: how the table of classes is stored.
    """
    own = shapes(config)
    rules = [rule for ours, theirs in names.fixed.items() for rule in layer(ours, theirs)]
    if config.labels:
        rules.append(Rule("labels.0.weight", (f"{names.labels}.weight",), labels))
    for part in parts(config, own):
        theirs = names.place(config, part)
        if part.kind == "attention" and config.context:
            rules += _transformer(part.ours, theirs, config.transformer_depth, linear)
        elif part.kind == "attention":
            rules += names.attention(part.ours, theirs, config.heads_of(config.widths[part.level]))
        elif part.kind == "resample" and config.resample != "residual":
            rules += layer(f"{part.ours}.conv", theirs)
        else:
            rules += layers(
                part.ours, theirs, {a: b for a, b in names.block.items() if f"{part.ours}.{a}.weight" in own}
            )
    return rules


def table_lenses(config: UNetConfig, tensors: Mapping[str, Tensor]) -> tuple[Lens, ...]:
    """How our table of classes is written: without its row "no label" where that is zeros, else whole."""
    table = tensors.get("labels.0.weight") if config.labels else None
    return () if table is None or table[config.labels[0] :].any() else (spare_row(),)


def _transformer(ours: str, theirs: str, depth: int, linear: bool) -> list[Rule]:
    """Rombach et al.'s transformer, whose layers CompVis and diffusers name alike."""
    lenses = (matrix(),) if linear else ()
    rules = layers(ours, theirs, {"norm": "norm"})
    rules += layer(f"{ours}.enter", f"{theirs}.proj_in", *lenses) + layer(
        f"{ours}.leave", f"{theirs}.proj_out", *lenses
    )
    for k in range(depth):
        inner, outer = f"{ours}.blocks.{k}", f"{theirs}.transformer_blocks.{k}"
        rules += layers(inner, outer, TRANSFORMER_BLOCK)
        for a, b in (("self_attention", "attn1"), ("cross_attention", "attn2")):
            rules += [
                Rule(f"{inner}.{a}.{c}.weight", (f"{outer}.{b}.{d}.weight",))
                for c, d in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"))
            ]
    return rules


TRANSFORMER_BLOCK = {
    **{f"norm{i}": f"norm{i}" for i in (1, 2, 3)},
    "self_attention.out": "attn1.to_out.0",
    "cross_attention.out": "attn2.to_out.0",
    "feed_forward.enter": "ff.net.0.proj",
    "feed_forward.leave": "ff.net.2",
}
