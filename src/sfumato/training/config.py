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
from sfumato.training.lora_config import LoraConfig
from sfumato.training.objective_config import ObjectiveConfig
from sfumato.training.options import RunOptions

__all__ = ["TrainConfig", "stored_config"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunOptions):
    """A training run. Its length, and every interval within it, is counted in pictures."""

    verb: ClassVar[str] = "train"

    size: int | str = 32
    """of the training pictures: WIDTHxHEIGHT such as 48x32, or the side of a square"""
    pictures: int = 400_000
    """length of the run: how many pictures are shown in all"""

    start: str | None = None
    """go on from a model: a shipped name, a model folder, or the folder of a run; docs/finetuning.md"""
    lora: LoraConfig = field(default_factory=LoraConfig)
    network: UNetConfig = field(default_factory=lambda: UNetConfig(patch=2))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    prediction: Literal["eps", "x0", "v", "F"] = "v"
    """what the network learns to put out"""
    weighting: Literal["simple", "eps", "x0", "v", "min-snr", "soft-min-snr", "p2", "edm", "vlb"] = "simple"
    """weight of the loss over noise levels"""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    accumulate: int = 1
    """micro-batches a step: less memory, the same step (only dropout masks differ)"""
    gradient_checkpointing: bool = False
    """compute each block a second time for its gradients instead of keeping it: less memory, the same bits, slower"""
    compile: bool = False
    """compile the network by torch.compile, which takes minutes at first; docs/memory.md says what it is worth"""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """under torchrun: average gradients only, or shard weights, averages and optimizer too; docs/distributed.md"""
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
    read: Literal["packed", "on-demand"] = "packed"
    """pictures in files: packed into the run's folder first, or decoded each time they are shown, workers ahead"""
    buckets: bool = False
    """batches of several shapes, all with about the area of size: each picture keeps nearly its aspect ratio"""
    autoencoder: Path | None = None
    """folder of an autoencoder: learn the latents of pictures instead of their pixels"""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 arithmetic on a GPU that has it, else fp32; the weights are always fp32"""
    log_every: int = 2_000
    """pictures between lines of log.jsonl"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("accumulate")
        if self.parallel not in ("ddp", "fsdp"):
            raise InputError(f"parallel is ddp or fsdp, not {self.parallel!r}")
        if self.parallel == "fsdp" and self.compile:
            raise InputError("--compile goes with --parallel ddp only")
        if self.parallel == "fsdp" and self.lora.rank is not None:
            raise InputError("an adapter is too small to be worth sharding: --parallel ddp")
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
        if self.lora.rank is not None and self.start is None:
            raise InputError("an adapter changes a model: say which by --from MODEL, or leave lora.rank out")
        if self.lora.rank is not None and self.averages != AveragesConfig():
            raise InputError("an adapter is saved with one average of its factors, ema_halflife; leave averages out")
        if self.autoencoder is None:
            self.network.check_size(*self.picture_size)
        elif self.read == "on-demand":
            raise InputError("an autoencoder encodes all pictures once, before the first step: --read packed")
        if self.read not in ("packed", "on-demand"):
            raise InputError(f"read is packed or on-demand, not {self.read!r}")
        if self.buckets and self.read != "on-demand":
            raise InputError("--buckets crops each picture to its batch when it is shown: add --read on-demand")


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
