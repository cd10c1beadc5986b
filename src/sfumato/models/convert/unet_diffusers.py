"""diffusers' U-Nets as ours and back: UNet2DModel (DDPM, ADM) and UNet2DConditionModel (Stable Diffusion)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sfumato.models.convert.diffusers_attention import attention, new_names
from sfumato.models.convert.diffusers_config import config_from_diffusers, config_to_diffusers
from sfumato.models.convert.parts import Names, Part, shapes, table_lenses, unet_rules
from sfumato.models.convert.rules import read, spare_row, write
from sfumato.networks.config import UNetConfig

__all__ = ["unet_from_diffusers", "unet_to_diffusers"]


def _place(config: UNetConfig, part: Part) -> str:
    rank = len(config.widths) - 1 - part.level
    where = {"down": f"down_blocks.{part.level}", "middle": "mid_block", "up": f"up_blocks.{rank}"}[part.way]
    if part.kind == "resample":
        inside = "" if config.resample == "residual" else ".conv"
        return f"{where}.{part.way}samplers.0{inside}"
    return f"{where}.{'resnets' if part.kind == 'block' else 'attentions'}.{part.number}"


NAMES = Names(
    fixed={
        "time.0": "time_embedding.linear_1",
        "time.2": "time_embedding.linear_2",
        "enter": "conv_in",
        "leave.0": "conv_norm_out",
        "leave.2": "conv_out",
    },
    labels="class_embedding",
    block={
        **{name: name for name in ("norm1", "conv1", "norm2", "conv2")},
        "embed": "time_emb_proj",
        "skip": "conv_shortcut",
    },
    place=_place,
    attention=lambda ours, theirs, heads: attention(ours, theirs),
)


def unet_from_diffusers(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], steps: int = 1000
) -> tuple[UNetConfig, dict[str, Tensor]]:
    """A U-Net from diffusers.

    Args:
        config: its config.json.
        tensors: its diffusion_pytorch_model.safetensors, with attention in the new or the old style of names.
        steps: T of its schedule, num_train_timesteps in scheduler_config.json.

    Returns:
        What `UNet.from_tensors` takes. Numbers are as they were, but for a row of zeros, "no label", that a table of
        classes gets.

    Raises:
        InputError: naming a tensor that is missing, unknown or of another shape, or what the config says that our
            network cannot be.
    """
    shape = config_from_diffusers(config, steps)
    rules = unet_rules(shape, NAMES, labels=(spare_row(),))
    what = f"diffusers' {config['_class_name']}"
    return shape, read(rules, new_names(tensors, what), shapes(shape), what)


def unet_to_diffusers(
    config: UNetConfig, tensors: Mapping[str, Tensor], linear: bool = False
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The inverse: config.json and tensors, with the new names of attention.

    Args:
        config, tensors: our network.
        linear: write the transformers' first and last layer as linear layers (`use_linear_projection`), as Stable
            Diffusion 2 has them, in the place of 1x1 convolutions.

    A row "no label" that holds more than zeros becomes one class more, the last.

    Raises:
        InputError: naming the option that diffusers' networks do not have, or the tensor that is missing or unknown.
    """
    result = config_to_diffusers(config, linear)
    lenses = table_lenses(config, tensors)
    if config.labels:
        result["num_class_embeds"] = config.labels[0] + (not lenses)
    return result, write(unet_rules(config, NAMES, linear=linear, labels=lenses), tensors, "our U-Net")
