"""Everything that decides a training run, as one frozen value. Imports no torch, so that `--help` is quick."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.networks.config import UNetConfig

__all__ = ["TrainConfig", "stored_config"]


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Its length, and every interval within it, is counted in pictures."""

    data: str
    """a folder of pictures, a packed file, or a name: emoji, emoji/food, cifar10, fashion-mnist"""
    out: Path
    """folder of the run; the finished model is OUT/model"""
    size: int = 32
    """side of the square training pictures"""
    pictures: int = 400_000
    """length of the run: how many pictures are shown in all"""
    batch: int = 64
    """pictures a step"""
    seed: int = 0
    """decides initial weights, order, noise, times and augmentation"""
    workers: int = 0
    """decoding threads when a folder is read, 0 for none; the result is the same for any number"""
    resume: bool = False
    """go on with the run in OUT from its last checkpoint"""

    network: UNetConfig = field(default_factory=lambda: UNetConfig(patch=2))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    prediction: Literal["eps", "x0", "v"] = "v"
    """what the network learns to put out"""
    weighting: Literal["simple", "eps", "x0", "v", "min-snr", "soft-min-snr", "p2", "edm", "vlb"] = "simple"
    """weight of the loss over noise levels"""

    lr: float = 1e-3
    """learning rate of AdamW after the warm-up"""
    warmup: int = 10_000
    """pictures over which the learning rate rises from 0"""
    cooldown: float = 0.2
    """last share of the run over which the learning rate falls to 0"""
    weight_decay: float = 0.0
    clip: float = 1.0
    """largest norm of the gradient"""
    accumulate: int = 1
    """micro-batches a step: less memory, the same step (only dropout masks differ)"""
    ema_halflife: int = 25_000
    """half-life of the averaged weights, in pictures"""
    ema_rampup: float = 0.05
    """the half-life is at most this share of the pictures seen so far"""
    label_dropout: float = 0.1
    """chance that a picture loses all labels, and, of several kinds, each alone (for classifier-free guidance)"""
    flip: bool = False
    """mirror half of the pictures; wrong for letters and clocks"""

    device: str = "auto"
    """cpu, cuda, mps …; auto: cuda if there is one, else cpu"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 arithmetic on a GPU that has it, else fp32; the weights are always fp32"""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice"""
    log_every: int = 2_000
    """pictures between lines of log.jsonl"""
    checkpoint_every: int = 25_000
    """pictures between checkpoints"""
    sample_every: int = 50_000
    """pictures between sample grids; 0: none"""
    keep: int = 2
    """checkpoints kept"""

    def __post_init__(self) -> None:
        for name, kind in (("data", str), ("out", Path)):
            if isinstance(getattr(self, name), str | Path):  # not the command line's mark for "still to be given"
                object.__setattr__(self, name, kind(getattr(self, name)))
        at_least_one = (
            "size",
            "pictures",
            "batch",
            "accumulate",
            "log_every",
            "checkpoint_every",
            "keep",
            "ema_halflife",
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.seed > 2**63 - 1:
            raise InputError(f"a seed is a whole number from 0 to 2**63 - 1, not {self.seed}")
        for name in ("workers", "warmup", "sample_every", "weight_decay", "threads", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} cannot be negative; it is {getattr(self, name)}")
        for name in ("cooldown", "label_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        for name in ("lr", "clip", "ema_rampup"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.batch % self.accumulate:
            raise InputError(f"batch {self.batch} cannot be split into {self.accumulate} equal micro-batches")
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
