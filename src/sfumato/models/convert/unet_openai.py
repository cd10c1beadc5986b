"""U-Nets of OpenAI's code (improved-diffusion, guided-diffusion) and of CompVis', which grew from it, and back.

ADM, Stable Diffusion 1 and 2 and latent diffusion name their layers alike: `input_blocks`, `middle_block` and
`output_blocks`, each a list of lists. A network with text has transformers where the others have self-attention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sfumato.errors import InputError
from sfumato.models.convert.parts import Names, Part, shapes, table_lenses, unet_rules
from sfumato.models.convert.rules import Rule, headwise, layer, layers, matrix, read, spare_row, write
from sfumato.networks.config import UNetConfig

__all__ = ["unet_from_openai", "unet_to_openai"]

FIXED = {  # written into that code, and into no checkpoint
    "groups": 32,
    "norm_eps": 1e-5,
    "time_encoding": "adm",
    "mid_attention": True,
    "patch": 1,
    "vocabulary": 0,
}
UP = re.compile(r"output_blocks\.(\d+)\.[12]\.(conv|in_layers\.0)\.weight")


def _place(config: UNetConfig, part: Part) -> str:
    step, residual = config.blocks + 1, config.resample == "residual"
    if part.way == "down":
        inside = {"block": "0", "attention": "1", "resample": "0" if residual else "0.op"}[part.kind]
        return f"input_blocks.{part.level * step + part.number + 1}.{inside}"
    if part.way == "middle":
        return f"middle_block.{1 if part.kind == 'attention' else 2 * part.number}"
    first = (len(config.widths) - 1 - part.level) * step
    if part.kind != "resample":
        return f"output_blocks.{first + part.number}.{0 if part.kind == 'block' else 1}"
    last = 2 if part.level in config.attention_levels else 1
    return f"output_blocks.{first + config.blocks}.{last}{'' if residual else '.conv'}"


def _names(by_head: bool) -> Names:
    def attention(ours: str, theirs: str, heads: int) -> list[Rule]:
        order = (headwise(heads),) if by_head else ()
        return [
            *layers(ours, theirs, {"norm": "norm"}),
            *layer(f"{ours}.qkv", f"{theirs}.qkv", *order, matrix(3)),
            *layer(f"{ours}.out", f"{theirs}.proj_out", matrix(3)),
        ]

    return Names(
        fixed={
            "time.0": "time_embed.0",
            "time.2": "time_embed.2",
            "enter": "input_blocks.0.0",
            "leave.0": "out.0",
            "leave.2": "out.2",
        },
        labels="label_emb",
        block={
            "norm1": "in_layers.0",
            "conv1": "in_layers.2",
            "embed": "emb_layers.1",
            "norm2": "out_layers.0",
            "conv2": "out_layers.3",
            "skip": "skip_connection",
        },
        place=_place,
        attention=attention,
    )


NAMES = _names(by_head=True)


def unet_from_openai(
    tensors: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    head_channels: int | None = None,
    steps: int = 1000,
    by_head: bool = True,
) -> tuple[UNetConfig, dict[str, Tensor]]:
    """A U-Net from OpenAI's or CompVis' code. The shape is read off the tensors, but for what no tensor tells.

    Args:
        tensors: a state dict, its names beginning with "input_blocks" and so on. A table of classes gets a row of
            zeros, "no label". With a learned variance, the network has twice as many channels going out.
        heads: of every attention (num_heads: 8 in Stable Diffusion 1, 4 in improved-diffusion); or
        head_channels: the width of each (num_head_channels: 64 in ADM and Stable Diffusion 2).
        steps: T of its schedule (diffusion_steps), without rescale_timesteps.
        by_head: self-attention without text has query, key and value head by head, which is the older order; ADM with
            use_new_attention_order has not.

    Returns:
        What `UNet.from_tensors` takes. No number changes.

    Raises:
        InputError: naming a tensor that is missing, unknown or of another shape, or an option that is needed.
    """
    if (heads is None) == (head_channels is None):
        raise InputError("the number of heads stands in no such file: give either heads or head_channels")
    shape = _infer(tensors, heads=heads, head_channels=head_channels, time_steps=steps)
    rules = unet_rules(shape, _names(by_head), labels=(spare_row(),))
    return shape, read(rules, tensors, shapes(shape), "OpenAI's U-Net")


def unet_to_openai(
    config: UNetConfig, tensors: Mapping[str, Tensor], *, linear: bool = False, by_head: bool = True
) -> dict[str, Tensor]:
    """The inverse.

    Args:
        config, tensors: our network. A row "no label" that holds more than zeros becomes one class more, the last.
        linear: write the transformers' first and last layer as linear layers, as Stable Diffusion 2 has them.
        by_head: as in `unet_from_openai`.

    Raises:
        InputError: naming the option that those networks do not have, or the tensor that is missing or unknown.
    """
    for name, value in FIXED.items():
        if getattr(config, name) != value:
            raise InputError(f"OpenAI's U-Nets have {name} {value!r} only, not {getattr(config, name)!r}")
    if config.time_steps is None:
        raise InputError(
            "OpenAI's U-Nets are told the index of the step, this one 1000·t; `told_the_index` changes that"
        )
    if len(config.labels) > 1 or config.resample == "conv-end":
        option = "two kinds of labels" if len(config.labels) > 1 else "convolutions padded at the ends only"
        raise InputError(f"OpenAI's U-Nets have no place for {option}")
    if any(width % config.groups for width in config.widths):
        raise InputError(f"OpenAI's U-Nets need widths that are multiples of {config.groups}, not {config.widths}")
    rules = unet_rules(config, _names(by_head), linear=linear, labels=table_lenses(config, tensors))
    return write(rules, tensors, "our U-Net")


def _infer(tensors: Mapping[str, Tensor], **told: Any) -> UNetConfig:
    """The shape of the network that has these tensors. `read` finds what contradicts it."""

    def size(name: str, axis: int = 0) -> int:
        if name not in tensors or tensors[name].ndim <= axis:
            raise InputError(f"OpenAI's U-Net: {name} is missing, or no tensor of the kind that belongs there")
        return tensors[name].shape[axis]

    channels, out_channels = size("input_blocks.0.0.weight"), size("out.2.weight")
    in_channels = size("input_blocks.0.0.weight", 1)
    ups = [found for name in tensors if (found := UP.fullmatch(name))]
    levels = len(ups) + 1
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("output_blocks.")})
    if blocks % levels or blocks <= levels:
        raise InputError(f"OpenAI's U-Net: {blocks} output_blocks do not make {levels} levels of the same depth")
    step = blocks // levels
    starts = [f"input_blocks.{level * step + 1}" for level in range(levels)]
    widths = [size(f"{start}.0.out_layers.3.weight") for start in starts]
    if not channels or any(width % channels for width in widths):
        raise InputError(f"OpenAI's U-Net: widths {widths} are no multiples of the first, {channels}")
    first = f"{starts[0]}.0"
    scales = size(f"{first}.emb_layers.1.weight") == 2 * size(f"{first}.out_layers.3.weight")
    text = "middle_block.1.transformer_blocks"
    depth = len({name.split(".")[3] for name in tensors if name.startswith(f"{text}.")})
    return UNetConfig(
        in_channels=in_channels,
        out_channels=None if out_channels == in_channels else out_channels,
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        blocks=step - 1,
        attention_levels=tuple(k for k, start in enumerate(starts) if f"{start}.1.norm.weight" in tensors),
        time_embedding="scale-shift" if scales else "shift",
        resample="residual" if any(up[2] != "conv" for up in ups) else "conv",
        labels=(size("label_emb.weight"),) if "label_emb.weight" in tensors else (),
        context=size(f"{text}.0.attn2.to_k.weight", 1) if depth else 0,
        transformer_depth=depth or 1,
        **FIXED,
        **told,
    )
