"""Everything that decides a training run, as one frozen value. Imports no torch, so that `--help` is quick."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.networks.config import UNetConfig
from sfumato.training.averages_config import AveragesConfig
from sfumato.training.objective_config import ObjectiveConfig
from sfumato.training.options import RunOptions

__all__ = ["TrainConfig", "stored_config"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunOptions):
    """A training run. Its length, and every interval within it, is counted in pictures."""

    verb: ClassVar[str] = "train"

    size: int = 32
    """side of the square training pictures"""
    pictures: int = 400_000
    """length of the run: how many pictures are shown in all"""

    network: UNetConfig = field(default_factory=lambda: UNetConfig(patch=2))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    prediction: Literal["eps", "x0", "v", "F"] = "v"
    """what the network learns to put out"""
    weighting: Literal["simple", "eps", "x0", "v", "min-snr", "soft-min-snr", "p2", "edm", "vlb"] = "simple"
    """weight of the loss over noise levels"""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    accumulate: int = 1
    """micro-batches a step: less memory, the same step (only dropout masks differ)"""
    ema_halflife: int = 25_000
    """half-life of the averaged weights, in pictures"""
    averages: AveragesConfig = field(default_factory=AveragesConfig)
    beta2: float = 0.99
    """AdamW's memory of squared gradients"""
    unlabelled: bool = False
    """learn the pictures without their labels"""
    label_dropout: float = 0.1
    """chance that a picture loses all labels, and, of several kinds, each alone (for classifier-free guidance)"""
    text: Literal["none", "words", "minilm", "clip", "t5"] = "none"
    """learn from captions instead of labels: words trains a small reader of its own, the others use a frozen one"""
    text_encoder: Path | None = None
    """folder of the frozen encoder, with its tokenizer; minilm may come from a package"""
    text_length: int = 24
    """tokens of the longest text"""
    text_features: int = 128
    """width of the trained reader"""
    spoken: tuple[str, ...] = ()
    """kinds of labels that are told in words, such as style, which then is said as noto style"""
    autoencoder: Path | None = None
    """folder of an autoencoder: learn the latents of pictures instead of their pixels"""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 arithmetic on a GPU that has it, else fp32; the weights are always fp32"""
    log_every: int = 2_000
    """pictures between lines of log.jsonl"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("accumulate")
        if not 0 <= self.label_dropout <= 1:
            raise InputError(f"label_dropout is a share from 0 to 1, not {self.label_dropout}")
        if not 0 <= self.beta2 < 1:
            raise InputError(f"beta2 is a number from 0 to below 1, such as 0.99, not {self.beta2}")
        if self.batch % self.accumulate:
            raise InputError(f"batch {self.batch} cannot be split into {self.accumulate} equal micro-batches")
        if self.text == "none" and (self.spoken or self.network.pooled_text):
            raise InputError("spoken and network.pooled-text belong to a training with --text")
        if self.text != "none" and self.unlabelled:
            raise InputError("captions are made of labels: --text and --unlabelled exclude each other")
        if self.text in ("none", "words") and self.text_encoder is not None:
            raise InputError("text-encoder is the folder of a frozen one: --text minilm, clip or t5")
        if self.autoencoder is None:
            self.network.check_size(self.size, self.size)


def stored_config(out: Path) -> dict[str, Any]:
    """config.json of a run's folder. Raises `InputError` when there is none or it cannot be read."""
    path = out / "config.json"
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{out} holds no run to resume (no config.json). Start without --resume.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(stored, dict):
        raise InputError(f"{path} is not the config of a run")
    return stored
