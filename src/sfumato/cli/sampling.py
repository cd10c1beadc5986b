"""What the verbs that make pictures have in common: a model, and how pictures are asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from sfumato.errors import InputError
from sfumato.sizes import parse_size

if TYPE_CHECKING:
    from sfumato.generation.model import Model
    from sfumato.generation.request import Request

__all__ = ["Sampling", "option_value", "options_from", "size_from"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The options of all of them."""

    model: Positional[str]
    """a shipped name (emoji, emoji-text, emoji-64), a model folder, or the folder of a run"""
    seed: int = 0
    """of the first picture; the next have seed + 1, seed + 2 …"""
    steps: int | None = None
    """solver steps; default: the model's"""
    solver: str | None = None
    """a name from `sfumato solvers`, or tuned, for a table fitted to this model; default: the model's"""
    spacing: str | None = None
    """where the steps lie: trailing, leading, linspace, quadratic, log-snr, karras, visible"""
    guidance_scale: Annotated[float | None, tyro.conf.arg(aliases=["--guidance"])] = None
    """w of classifier-free guidance, or of autoguidance with --weak; 1 is none"""
    negative: tuple[str, ...] = ()
    """labels or a prompt to go away from, instead of from none"""
    guidance_interval: tuple[float, float] | None = None
    """guidance only between these times, 0 being data and 1 noise, such as 0.2 0.8"""
    guidance_rescale: float = 0.0
    """contrast of the guided picture: 0 as it comes, 1 as without guidance"""
    lora: Path | None = None
    """LoRA to merge into the U-Net: .safetensors, or the folder of a run that learned one"""
    lora_scale: float = 1.0
    """how much of it"""
    weak: str | None = None
    """a weaker model of the same data to go away from (autoguidance)"""
    classifier: Path | None = None
    """folder of a classifier from train-classifier, to follow towards the label"""
    classifier_scale: float | None = None
    """strength of the classifier; default: 1"""
    dynamic_threshold: float | None = None
    """percentile of dynamic thresholding, such as 99.5; default: values of pixels are cut at -1 and 1"""
    size: str | None = None
    """WIDTHxHEIGHT such as 512x768, or one side; default: as trained"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5 or variance=large"""
    batch: int = 64
    """pictures at once; does not change them"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""
    dtype: str = "float32"
    """number type of the weights: float32, or float16 or bfloat16 for half the memory"""
    offload: Literal["cpu", "disk"] | None = None
    """text encoder, U-Net and autoencoder take turns on the device; the others wait in main memory, or on disk"""
    most_scores: int | None = None
    """bound on the scores of attention at once, such as 16000000; helps where it has no fused kernel"""
    one_at_a_time: bool = False
    """guidance by two calls of the network, not one of twice the size"""

    def load(self, source: str | None = None) -> Model:
        """The model, or another one in the same way, but without the LoRA."""
        from sfumato.generation.model import load

        way = (self.device, self.dtype, self.offload, self.most_scores)
        if source is not None:
            return load(source, *way)
        return load(self.model, *way, lora=self.lora, lora_scale=self.lora_scale)

    def request(self) -> Request:
        """How the pictures are asked for."""
        from sfumato.generation.classifier import load_classifier
        from sfumato.generation.guidance import Guidance
        from sfumato.generation.request import Request

        return Request(
            steps=self.steps,
            solver=self.solver,
            spacing=self.spacing,
            guidance_scale=self.guidance_scale,
            size=size_from(self.size),
            options=tuple(options_from(self.option).items()),
            guidance=Guidance(
                negative=self.negative or None,
                interval=self.guidance_interval,
                rescale=self.guidance_rescale,
                weak=None if self.weak is None else self.load(self.weak),
                classifier=None if self.classifier is None else load_classifier(self.classifier, self.device),
                classifier_scale=self.classifier_scale,
                together=not self.one_at_a_time,
            ),
            dynamic_threshold=self.dynamic_threshold,
        )


def size_from(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """`parse_size` of an option that may be left out."""
    return None if text is None else parse_size(text, option)


def options_from(words: tuple[str, ...]) -> dict[str, int | float | str]:
    """Options of a solver from words such as eta=0.5."""
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--option {word!r}: write name=value, such as eta=0.5")
        if key in ("name", "schedule", "steps", "spacing", "times", "end"):
            raise InputError(f"--option {word!r}: {key} is no option of a solver")
        if key in options:
            raise InputError(f"--option {word!r}: {key} is given twice")
        options[key] = option_value(value)
    return options


def option_value(text: str) -> int | float | str:
    """A number, or true or false, where it is one."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
