"""The shape of a U-Net, as a frozen value. Imports no torch, so that the command line can show it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from sfumato.errors import InputError

__all__ = ["NO_LABEL", "UNetConfig"]

NO_LABEL = -1
MOST_LAYERS = 100  # of a kind in a row


@dataclass(frozen=True)
class UNetConfig:
    """A U-Net of DDPM's kind. Level k of L works at 1/2ᵏ of the (patched) resolution."""

    in_channels: int = 3
    """channels of the picture, and of the output unless out_channels says otherwise"""
    out_channels: int | None = None
    """channels of the output; default: in_channels"""
    channels: int = 64
    """base width"""
    multipliers: tuple[int, ...] = (1, 2, 3)
    """width of each level, in multiples of channels; as many levels as numbers"""
    blocks: int = 1
    """residual blocks a level going down (one more going up)"""
    attention_levels: tuple[int, ...] = (2,)
    """levels with self-attention after each block; 0 is the finest"""
    mid_attention: bool = True
    """self-attention between the two middle blocks"""
    head_channels: int | None = 32
    """width of an attention head; none: a single head"""
    heads: int | None = None
    """heads of every attention, instead of a width for each"""
    dropout: float = 0.0
    """dropout inside the residual blocks"""
    time_embedding: Literal["shift", "scale-shift"] = "scale-shift"
    """how time and labels enter a block: added before the second convolution (Ho), or also scaling (ADM)"""
    patch: int = 1
    """side of the square patches that become channels at the entrance: 2 makes everything about 4 times cheaper"""
    groups: int = 32
    """groups of the normalisation, lowered to the greatest common divisor with the width"""
    norm_eps: float = 1e-6
    """added to the variance in the normalisation"""
    resample: Literal["conv", "conv-end", "residual"] = "conv"
    """how levels change resolution: a convolution (Ho), one padded at the ends only, or a residual block (ADM)"""
    time_encoding: Literal["ddpm", "adm"] = "ddpm"
    """sines and cosines of the time: as in Ho's network, or as in ADM's and Stable Diffusion's"""
    time_steps: int | None = None
    """the network is told the index of the step, t·steps - 1; none: 1000·t"""
    labels: tuple[int, ...] = ()
    """number of classes of each kind of label"""
    context: int = 0
    """features of a token of text; 0: no text. Attention then is a transformer that also looks at the text"""
    pooled_text: bool = False
    """the mean of the tokens also goes where time and labels go, into every block (Imagen)"""
    transformer_depth: int = 1
    """blocks of each of these transformers"""
    vocabulary: int = 0
    """words of a text encoder that is trained with the network; 0: texts come encoded"""
    tokens: int = 0
    """longest text of that encoder"""
    text_layers: int = 2
    """its depth"""

    def __post_init__(self) -> None:
        positive = {
            "in_channels": self.in_channels,
            "out_channels": self.output_channels,
            "channels": self.channels,
            "blocks": self.blocks,
            "patch": self.patch,
            "groups": self.groups,
            "head_channels": 1 if self.head_channels is None else self.head_channels,
            "heads": 1 if self.heads is None else self.heads,
            "time_steps": 1 if self.time_steps is None else self.time_steps,
            "transformer_depth": self.transformer_depth,
            "text_layers": self.text_layers,
            **{f"multipliers[{i}]": m for i, m in enumerate(self.multipliers)},
            **{f"labels[{i}]": n for i, n in enumerate(self.labels)},
        }
        for name, value in positive.items():
            if value < 1:
                raise InputError(f"network: {name} must be at least 1, not {value}")
        for name in ("blocks", "transformer_depth", "text_layers"):
            if getattr(self, name) > MOST_LAYERS:
                raise InputError(f"network: {name} is at most {MOST_LAYERS}, not {getattr(self, name)}")
        if not self.multipliers:
            raise InputError("network: multipliers must name at least one level")
        if not 0 <= self.dropout < 1:
            raise InputError(f"network: dropout must lie in [0, 1), not {self.dropout}")
        levels = len(self.multipliers)
        for level in self.attention_levels:
            if not 0 <= level < levels:
                raise InputError(f"network: attention level {level} does not exist; there are levels 0 … {levels - 1}")
        attended = {self.widths[k] for k in self.attention_levels} | (
            {self.widths[-1]} if self.mid_attention else set()
        )
        for width in sorted(attended):
            self.heads_of(width)
        for name in ("context", "vocabulary", "tokens"):
            if getattr(self, name) < 0:
                raise InputError(f"network: {name} cannot be negative; it is {getattr(self, name)}")
        if self.vocabulary and (not self.context or self.tokens < 1):
            raise InputError("network: a vocabulary needs a context (features of a word) and tokens (words of a text)")
        if self.context and not attended:
            raise InputError("network: text enters by attention, but no level has any; name some in attention_levels")
        if not self.norm_eps > 0:
            raise InputError(f"network: norm_eps must be above 0, not {self.norm_eps}")
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise InputError(f"network: {name} is one of {get_args(kind)}, not {getattr(self, name)!r}")
        if self.channels % 2:
            raise InputError(f"network: channels must be even (sine and cosine of the time), not {self.channels}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    def heads_of(self, width: int) -> int:
        """Heads of an attention of this width. `InputError` where they do not divide it."""
        if self.heads is not None:
            if width % self.heads:
                raise InputError(f"network: {self.heads} heads do not divide the width {width}")
            return self.heads
        if self.head_channels and width % self.head_channels:
            raise InputError(f"network: head_channels {self.head_channels} does not divide the width {width}")
        return width // (self.head_channels or width)

    @property
    def output_channels(self) -> int:
        return self.in_channels if self.out_channels is None else self.out_channels

    @property
    def divisor(self) -> int:
        """Height and width must be multiples of this."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    def check_size(self, height: int, width: int) -> None:
        """Raise `InputError`, naming sizes that fit, unless the depth divides height and width."""
        for side, value in (("height", height), ("width", width)):
            if value < 1 or value % self.divisor:
                below = value // self.divisor * self.divisor
                fits = f"{below} or {below + self.divisor}" if below else f"{self.divisor}"
                raise InputError(
                    f"a {side} of {value} does not fit this network: it must be a multiple of {self.divisor} "
                    f"(patches of {self.patch}, {len(self.multipliers)} levels). Nearest that fit: {fits}."
                )

    @classmethod
    def ddpm_cifar10(cls, labels: tuple[int, ...] = ()) -> UNetConfig:
        """Ho et al. 2020, appendix B: 35.7 million parameters for 32x32 pictures."""
        return cls(
            channels=128,
            multipliers=(1, 2, 2, 2),
            blocks=2,
            attention_levels=(1,),
            head_channels=None,
            dropout=0.1,
            time_embedding="shift",
            labels=labels,
        )
