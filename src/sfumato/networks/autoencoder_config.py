"""The shape of a KL autoencoder, as a frozen value. Imports no torch, so that the command line can show it at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sfumato.errors import InputError

__all__ = ["AutoencoderConfig", "Part"]


class Part(NamedTuple):
    """One piece of the way down or up: where it stands, and from how many channels it leads to how many."""

    kind: Literal["block", "attention", "resample"]
    level: int  # 0 is the finest
    number: int  # among those of its kind on its level
    channels_in: int
    channels_out: int


@dataclass(frozen=True)
class AutoencoderConfig:
    """An autoencoder of latent diffusion's kind (Rombach et al. 2022). Level k works at 1/2ᵏ of the resolution.

    The defaults, with latent_scale 0.18215, are the autoencoder of Stable Diffusion 1.
    """

    in_channels: int = 3
    """channels of the picture"""
    channels: int = 128
    """base width"""
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    """width of each level, in multiples of channels; each level but the first halves the resolution"""
    blocks: int = 2
    """residual blocks a level going down (one more going up)"""
    latent_channels: int = 4
    """channels of the latent"""
    groups: int = 32
    """groups of the normalisation, lowered to the greatest common divisor with the width"""
    mid_attention: bool = True
    """self-attention, of a single head, between the two middle blocks"""
    attention_levels: tuple[int, ...] = ()
    """levels with self-attention after each block; 0 is the finest"""
    quant_conv: bool = True
    """a 1x1 convolution on each side of the latent, as Stable Diffusion 1, 2 and XL have it, and 3 and Flux do not"""
    latent_shift: tuple[float, ...] = (0.0,)
    """what is subtracted from a latent before a diffusion model sees it: one number, or one for each channel"""
    latent_scale: tuple[float, ...] = (1.0,)
    """what it is multiplied by then"""

    def __post_init__(self) -> None:
        positive = {
            "in_channels": self.in_channels,
            "channels": self.channels,
            "blocks": self.blocks,
            "latent_channels": self.latent_channels,
            "groups": self.groups,
            **{f"multipliers[{i}]": m for i, m in enumerate(self.multipliers)},
        }
        for name, value in positive.items():
            if value < 1:
                raise InputError(f"autoencoder: {name} must be at least 1, not {value}")
        if not self.multipliers:
            raise InputError("autoencoder: multipliers must name at least one level")
        for level in self.attention_levels:
            if not 0 <= level < len(self.multipliers):
                last = len(self.multipliers) - 1
                raise InputError(f"autoencoder: attention level {level} does not exist; there are levels 0 … {last}")
        for name, values in (("latent_shift", self.latent_shift), ("latent_scale", self.latent_scale)):
            if len(values) not in (1, self.latent_channels):
                raise InputError(
                    f"autoencoder: {name} is one number or one for each of the {self.latent_channels} latent channels, "
                    f"not {len(values)}"
                )
            if not all(map(math.isfinite, values)):
                raise InputError(f"autoencoder: {name} holds NaN or infinity")
        if min(self.latent_scale) <= 0:
            raise InputError(f"autoencoder: latent_scale must be above 0, not {min(self.latent_scale)}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @property
    def factor(self) -> int:
        """Side of the square of pixels that one position of the latent stands for."""
        return 2 ** (len(self.multipliers) - 1)

    def check_size(self, height: int, width: int) -> None:
        """Raise `InputError`, naming sizes that fit, unless height and width are multiples of `factor`."""
        for side, value in (("height", height), ("width", width)):
            if value < 1 or value % self.factor:
                below = value // self.factor * self.factor
                fits = f"{below} or {below + self.factor}" if below > 0 else f"{self.factor}"
                raise InputError(
                    f"a {side} of {value} does not fit this autoencoder: it must be a multiple of {self.factor}. "
                    f"Nearest that fit: {fits}."
                )

    def down_parts(self) -> list[Part]:
        """The way down in order, without its entrance, middle and exit."""
        parts, width = [], self.channels
        for level, target in enumerate(self.widths):
            for number in range(self.blocks):
                parts += self._stage(level, number, width, target)
                width = target
            if level < len(self.widths) - 1:
                parts.append(Part("resample", level, 0, width, width))
        return parts

    def up_parts(self) -> list[Part]:
        """The way up in order, without its entrance, middle and exit."""
        parts, width = [], self.widths[-1]
        for level, target in reversed(list(enumerate(self.widths))):
            for number in range(self.blocks + 1):
                parts += self._stage(level, number, width, target)
                width = target
            if level > 0:
                parts.append(Part("resample", level, 0, width, width))
        return parts

    def middle_parts(self) -> list[Part]:
        """The middle, the same on the way down and up."""
        width, level = self.widths[-1], len(self.widths) - 1
        first, last = (Part("block", level, number, width, width) for number in (0, 1))
        return [first, Part("attention", level, 0, width, width), last] if self.mid_attention else [first, last]

    def _stage(self, level: int, number: int, channels_in: int, channels_out: int) -> list[Part]:
        block = Part("block", level, number, channels_in, channels_out)
        attention = Part("attention", level, number, channels_out, channels_out)
        return [block, attention] if level in self.attention_levels else [block]
