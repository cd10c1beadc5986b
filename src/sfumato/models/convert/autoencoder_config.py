"""What other libraries say of an autoencoder's shape: diffusers in a config.json, CompVis only by its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from torch import Tensor

from sfumato.errors import InputError
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.typed import build

__all__ = ["config_from_diffusers", "config_to_diffusers", "shape_of_compvis"]

COMPVIS_GROUPS = 32  # written into its code, and into no checkpoint
PLAIN, ATTENDING = ("DownEncoderBlock2D", "UpDecoderBlock2D"), ("AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D")


@dataclass(frozen=True)
class _Diffusers:
    """config.json of an AutoencoderKL, with diffusers' own defaults."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = (PLAIN[0],)
    up_block_types: tuple[str, ...] = (PLAIN[1],)
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    act_fn: str = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: Any = 32  # the size it was trained at: nothing depends on it
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None
    force_upcast: bool = True  # we compute in float32 anyway
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True


def config_from_diffusers(config: Mapping[str, Any]) -> AutoencoderConfig:
    """The shape that a config.json of diffusers' AutoencoderKL describes.

    Raises:
        InputError: for a key or a value that this autoencoder cannot follow.
    """
    where = "config of diffusers' AutoencoderKL"
    name = config.get("_class_name", "AutoencoderKL")
    if name != "AutoencoderKL":
        raise InputError(f"{where}: it is one of {name!r}, not of 'AutoencoderKL'")
    said = build(_Diffusers, {key: value for key, value in config.items() if not key.startswith("_")}, where)
    widths, attending = said.block_out_channels, [kind in ATTENDING for kind in said.down_block_types]
    down = tuple((ATTENDING if attends else PLAIN)[0] for attends in attending)
    up = tuple((ATTENDING if attends else PLAIN)[1] for attends in reversed(attending))
    for unfit, what in [
        (said.act_fn not in ("silu", "swish"), f"act_fn is {said.act_fn!r}, not 'silu'"),
        (said.out_channels != said.in_channels, f"out_channels {said.out_channels} differs from in_channels"),
        (said.use_quant_conv != said.use_post_quant_conv, "only one of quant_conv and post_quant_conv is there"),
        (
            said.down_block_types != down,
            f"down_block_types {said.down_block_types}: known are {PLAIN[0]}, {ATTENDING[0]}",
        ),
        (said.up_block_types != up, f"up_block_types {said.up_block_types} do not mirror {said.down_block_types}"),
        (len(widths) != len(down), f"{len(widths)} block_out_channels for {len(down)} down_block_types"),
        (
            not widths or any(w % widths[0] for w in widths),
            f"block_out_channels {widths} are no multiples of the first",
        ),
        (
            (said.latents_mean is None) != (said.latents_std is None),
            "only one of latents_mean and latents_std is there",
        ),
        (
            said.shift_factor is not None and said.latents_mean is not None,
            "shift_factor and latents_mean are both there",
        ),
    ]:
        if unfit:
            raise InputError(f"{where}: {what}")
    return AutoencoderConfig(
        in_channels=said.in_channels,
        channels=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        blocks=said.layers_per_block,
        latent_channels=said.latent_channels,
        groups=said.norm_num_groups,
        mid_attention=said.mid_block_add_attention,
        attention_levels=tuple(level for level, attends in enumerate(attending) if attends),
        quant_conv=said.use_quant_conv,
        latent_shift=said.latents_mean or (said.shift_factor or 0.0,),
        latent_scale=tuple(said.scaling_factor / std for std in said.latents_std or (1.0,)),
    )


def config_to_diffusers(config: AutoencoderConfig) -> dict[str, Any]:
    """The inverse, as plain values. `InputError` where AutoencoderKL has no such shape."""
    if config.multipliers[0] != 1:
        raise InputError(
            f"diffusers' AutoencoderKL enters with the width of its first level; here multipliers[0] is "
            f"{config.multipliers[0]}, not 1"
        )
    kinds = [ATTENDING if level in config.attention_levels else PLAIN for level in range(len(config.multipliers))]
    single = len(config.latent_shift) == len(config.latent_scale) == 1
    said = _Diffusers(
        in_channels=config.in_channels,
        out_channels=config.in_channels,
        down_block_types=tuple(kind[0] for kind in kinds),
        up_block_types=tuple(kind[1] for kind in reversed(kinds)),
        block_out_channels=config.widths,
        layers_per_block=config.blocks,
        latent_channels=config.latent_channels,
        norm_num_groups=config.groups,
        scaling_factor=config.latent_scale[0] if single else 1.0,
        shift_factor=config.latent_shift[0] if single and config.latent_shift[0] else None,
        use_quant_conv=config.quant_conv,
        use_post_quant_conv=config.quant_conv,
        mid_block_add_attention=config.mid_attention,
        latents_mean=None if single else _each(config.latent_shift, config),
        latents_std=None if single else _each(tuple(1 / scale for scale in config.latent_scale), config),
    )
    return {"_class_name": "AutoencoderKL", **asdict(said)}


def _each(values: tuple[float, ...], config: AutoencoderConfig) -> tuple[float, ...]:
    """A number for each channel of the latent."""
    return values if len(values) > 1 else values * config.latent_channels


def shape_of_compvis(tensors: Mapping[str, Tensor], scale: float) -> AutoencoderConfig:
    """The shape of an autoencoder with CompVis' names, read off its tensors. `InputError` where they are too few."""

    def size(name: str, axis: int) -> int:
        if name not in tensors or tensors[name].ndim != 4:
            raise InputError(f"CompVis' autoencoder: {name} is missing, or no convolution")
        return tensors[name].shape[axis]

    def many(pattern: str) -> int:
        return next(i for i in count() if pattern.format(i) not in tensors)

    channels = size("encoder.conv_in.weight", 0)
    widths = [
        size(f"encoder.down.{level}.block.0.conv1.weight", 0)
        for level in range(many("encoder.down.{}.block.0.conv1.weight"))
    ]
    if not widths or any(width % channels for width in widths):
        raise InputError(f"CompVis' autoencoder: its levels are {widths} wide, no multiples of {channels}")
    return AutoencoderConfig(
        in_channels=size("encoder.conv_in.weight", 1),
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        blocks=many("encoder.down.0.block.{}.conv1.weight"),
        latent_channels=size("decoder.conv_in.weight", 1),
        groups=COMPVIS_GROUPS,
        mid_attention="encoder.mid.attn_1.q.weight" in tensors,
        attention_levels=tuple(i for i in range(len(widths)) if f"encoder.down.{i}.attn.0.q.weight" in tensors),
        quant_conv="quant_conv.weight" in tensors,
        latent_scale=(scale,),
    )
