"""The config.json of diffusers' UNet2DModel and UNet2DConditionModel, and what it means here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.errors import InputError, nearest
from sfumato.models.convert.diffusers_keys import (
    BLOCKS,
    CONDITIONAL,
    DEFAULTS,
    IDLE,
    ONLY,
    PADDINGS,
    PLAIN,
    TIME_EMBEDDINGS,
    TIME_ENCODINGS,
)
from sfumato.networks.config import UNetConfig
from sfumato.typed import build

__all__ = ["config_from_diffusers", "config_to_diffusers"]


@dataclass(frozen=True)
class _Facts:
    """What a config.json says, its defaults filled in; what may be one number or one for each level is the latter."""

    in_channels: int
    out_channels: int
    freq_shift: int
    flip_sin_to_cos: bool
    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    block_out_channels: tuple[int, ...]
    layers_per_block: tuple[int, ...]
    downsample_padding: int
    dropout: float
    attention_head_dim: tuple[int, ...] | None
    norm_num_groups: int
    norm_eps: float
    resnet_time_scale_shift: str
    num_class_embeds: int | None
    time_embedding_dim: int | None
    downsample_type: str = "conv"
    upsample_type: str = "conv"
    attn_norm_num_groups: int | None = None
    add_attention: bool = True
    cross_attention_dim: tuple[int, ...] = (0,)
    transformer_layers_per_block: tuple[int, ...] = (1,)


PER_LEVEL = ("layers_per_block", "attention_head_dim", "cross_attention_dim", "transformer_layers_per_block")


def config_from_diffusers(config: Mapping[str, Any], steps: int) -> UNetConfig:
    """The shape that a config.json describes.

    Args:
        config: of a UNet2DModel or a UNet2DConditionModel, by its `_class_name`.
        steps: T of the schedule it was trained on, num_train_timesteps of its scheduler.

    Raises:
        InputError: naming a key that is unknown, or a value that our network cannot have.
    """
    kind = config.get("_class_name")
    if not isinstance(kind, str) or kind not in DEFAULTS:
        raise InputError(f"config.json: _class_name is {kind!r}, not {PLAIN} or {CONDITIONAL}")
    where = f"config.json of a {kind}"
    facts = _read(kind, config, where)
    widths, levels = facts.block_out_channels, range(len(facts.block_out_channels))
    channels = widths[0] if widths else 0
    attended, resample = _levels(kind, facts, where)
    if min(*widths, facts.norm_num_groups) < 1:
        raise InputError(f"{where}: block_out_channels and norm_num_groups must be at least 1")
    if any(width % channels for width in widths):
        raise InputError(f"{where}: block_out_channels {list(widths)} must be multiples of the first")
    if facts.time_embedding_dim not in (None, 4 * channels):
        raise InputError(f"{where}: time_embedding_dim must be {4 * channels}, four times the first width")
    scale_shift = facts.resnet_time_scale_shift == "scale_shift"
    same_groups = (facts.norm_num_groups,) if scale_shift else (None, facts.norm_num_groups)
    if kind == PLAIN and facts.add_attention and facts.attn_norm_num_groups not in same_groups:
        # without it, diffusers leaves out the normalisation before the attention in the middle
        raise InputError(f"{where}: attn_norm_num_groups must be {same_groups[-1]}, as norm_num_groups")
    if any(width % facts.norm_num_groups for width in widths):
        raise InputError(f"{where}: norm_num_groups {facts.norm_num_groups} does not divide {list(widths)}")
    if kind == CONDITIONAL:
        heads, head_channels = _heads(facts, sorted({*attended, levels[-1]}), where)
    else:
        size = facts.attention_head_dim
        heads, head_channels = None, None if size is None else _one(size, "attention_head_dim", where)
    return UNetConfig(
        in_channels=facts.in_channels,
        out_channels=None if facts.out_channels == facts.in_channels else facts.out_channels,
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        blocks=_one(facts.layers_per_block, "layers_per_block", where),
        attention_levels=tuple(attended),
        mid_attention=facts.add_attention,
        heads=heads,
        head_channels=head_channels,
        dropout=facts.dropout,
        time_embedding=_known(facts.resnet_time_scale_shift, TIME_EMBEDDINGS, "resnet_time_scale_shift", where),
        groups=facts.norm_num_groups,
        norm_eps=facts.norm_eps,
        resample=resample,
        time_encoding=_known(
            (facts.flip_sin_to_cos, facts.freq_shift), TIME_ENCODINGS, "(flip_sin_to_cos, freq_shift)", where
        ),
        time_steps=steps,
        labels=() if facts.num_class_embeds is None else (facts.num_class_embeds,),
        context=_one(facts.cross_attention_dim, "cross_attention_dim", where),
        transformer_depth=_one(facts.transformer_layers_per_block, "transformer_layers_per_block", where),
    )


def config_to_diffusers(config: UNetConfig, linear: bool = False) -> dict[str, Any]:
    """The inverse, with every value that diffusers has no right default for.

    Args:
        config: a shape.
        linear: `use_linear_projection` of a network with text.

    Raises:
        InputError: naming the option that diffusers' networks do not have.
    """
    what = "diffusers' U-Nets"
    if config.patch > 1 or config.vocabulary or len(config.labels) > 1:
        option = "patches" if config.patch > 1 else "a text encoder" if config.vocabulary else "two kinds of labels"
        raise InputError(f"{what} have no place for {option}")
    if config.time_steps is None:
        raise InputError(f"{what} are told the index of the step, this one 1000·t: see `told_the_index`")
    if config.context and not config.mid_attention:
        raise InputError(f"{what} with text always attend in the middle; this one does not")
    kind = CONDITIONAL if config.context else PLAIN
    resnet = config.resample == "residual"
    types = [_block_type(kind, k in config.attention_levels, resnet, config) for k in range(len(config.widths))]
    attended = sorted({*config.attention_levels} | ({len(config.widths) - 1} if config.mid_attention else set()))
    flip, shift = next(key for key, name in TIME_ENCODINGS.items() if name == config.time_encoding)
    result = {
        "_class_name": kind,
        "in_channels": config.in_channels,
        "out_channels": config.output_channels,
        "flip_sin_to_cos": flip,
        "freq_shift": shift,
        "down_block_types": types,
        "up_block_types": [name.replace("Down", "Up") for name in reversed(types)],
        "block_out_channels": list(config.widths),
        "layers_per_block": config.blocks,
        "downsample_padding": 0 if config.resample == "conv-end" else 1,
        "dropout": config.dropout,
        "norm_num_groups": _groups(config),
        "norm_eps": config.norm_eps,
        "resnet_time_scale_shift": next(a for a, b in TIME_EMBEDDINGS.items() if b == config.time_embedding),
    }
    if kind == CONDITIONAL:
        heads = [config.heads_of(width) if k in attended else 1 for k, width in enumerate(config.widths)]
        result |= {
            "attention_head_dim": config.heads or heads,  # its name there; what it holds is the number of heads
            "cross_attention_dim": config.context,
            "transformer_layers_per_block": config.transformer_depth,
            "use_linear_projection": linear,
        }
    else:
        result |= {
            "attention_head_dim": _head_width(config, attended),
            "attn_norm_num_groups": _groups(config),
            "add_attention": config.mid_attention,
            "downsample_type": "resnet" if resnet else "conv",
            "upsample_type": "resnet" if resnet else "conv",
        }
    return result


def _read(kind: str, config: Mapping[str, Any], where: str) -> _Facts:
    only, values = ONLY[kind], dict(DEFAULTS[kind])
    for key, value in config.items():
        if key.startswith("_") or key in IDLE[kind]:
            continue
        if key in only:
            if value not in only[key]:
                raise InputError(f"{where}: {key} is {value!r}; our network knows only {only[key][0]!r}")
        elif key in values:
            values[key] = value
        else:
            raise InputError(f"{where}: there is no {key!r} that is known here. {nearest(key, [*values, *only])}")
    for key in PER_LEVEL:
        if isinstance(values.get(key), int):
            values[key] = [values[key]]
    return build(_Facts, values, where)


def _levels(kind: str, facts: _Facts, where: str) -> tuple[list[int], Any]:
    """Levels that attend, and our name for the way of changing resolution."""
    count, down, up = len(facts.block_out_channels), facts.down_block_types, facts.up_block_types
    known, ways = BLOCKS[kind], {facts.downsample_type, facts.upsample_type}
    if not count or len(down) != count or len(up) != count:
        raise InputError(f"{where}: block_out_channels, down_block_types and up_block_types differ in length")
    attended, resamples = [], set()
    for level, (name, mirror) in enumerate(zip(down, reversed(up), strict=True)):
        if name not in known:
            raise InputError(f"{where}: down_block_types[{level}] is {name!r}; our network knows {', '.join(known)}")
        (attends, own), other = known[name], known.get(mirror.replace("Up", "Down"))
        if other is None or other[0] != attends:
            place = f"up_block_types[{count - 1 - level}]"
            raise InputError(f"{where}: {place} is {mirror!r}, which is not the counterpart of {name!r}")
        if attends:
            attended.append(level)
        if level < count - 1:
            resamples |= {own} if own else {facts.downsample_type}
        if level > 0:
            resamples |= {other[1]} if other[1] else {facts.upsample_type}
    if len(resamples) > 1 or not (resamples | ways) <= {"conv", "resnet"}:
        raise InputError(f"{where}: its levels change resolution in different ways: {', '.join(sorted(resamples))}")
    if resamples == {"resnet"}:
        return attended, "residual"
    return attended, _known(facts.downsample_padding, PADDINGS, "downsample_padding", where)


def _heads(facts: _Facts, attended: Sequence[int], where: str) -> tuple[int | None, int | None]:
    """Number or width of heads, whichever is the same on all levels."""
    given = facts.attention_head_dim or ()
    if len(given) not in (1, len(facts.block_out_channels)) or min(given) < 1:
        raise InputError(f"{where}: attention_head_dim needs one number of heads, or one for each level, not {given}")
    of_level = {level: given[level if len(given) > 1 else 0] for level in attended}
    if len(set(of_level.values())) == 1:
        return of_level[attended[0]], None
    sizes = {facts.block_out_channels[level] / heads for level, heads in of_level.items()}
    if len(sizes) > 1:
        raise InputError(f"{where}: attention_head_dim {list(given)}: neither number nor width of heads is constant")
    return None, int(sizes.pop())


def _block_type(kind: str, attends: bool, resnet: bool, config: UNetConfig) -> str:
    way = "resnet" if resnet else "conv"
    for name, (known, resample) in BLOCKS[kind].items():
        if known == attends and resample in (way, None):
            return name
    raise InputError(
        "diffusers' U-Nets with text change resolution by convolutions where they attend; this one does not"
    )


def _groups(config: UNetConfig) -> int:
    """The number of groups, which with us is lowered where it does not divide a width, and there is not."""
    if any(width % config.groups for width in config.widths):
        raise InputError(f"diffusers needs {config.groups} groups to divide every width: {list(config.widths)}")
    return config.groups


def _head_width(config: UNetConfig, attended: Sequence[int]) -> int | None:
    if config.heads is None:
        return config.head_channels
    sizes = {config.widths[level] // config.heads for level in attended}
    if len(sizes) > 1:
        raise InputError(f"diffusers' UNet2DModel has heads of one width; {config.heads} heads have {sorted(sizes)}")
    return sizes.pop() if sizes else None


def _one(values: Sequence[int], name: str, where: str) -> int:
    if len(set(values)) != 1:
        raise InputError(f"{where}: {name} must be the same on all levels, not {list(values)}")
    return values[0]


def _known(value: Any, table: Mapping[Any, Any], name: str, where: str) -> Any:
    if value not in table:
        raise InputError(f"{where}: {name} is {value!r}; our network knows {', '.join(map(repr, table))}")
    return table[value]
