"""Everything that decides the training of a classifier, as one frozen value. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sfumato.errors import InputError
from sfumato.networks.config import UNetConfig

__all__ = ["ClassifierConfig"]


@dataclass(frozen=True)
class ClassifierConfig:
    """Training a classifier of noisy pictures. Its length is counted in pictures; it cannot be resumed."""

    data: str
    """labelled pictures: a folder with sub-folders, a packed file, or a name such as emoji/food,animals"""
    out: Path
    """folder for the classifier"""
    model: str
    """the model that it will guide; its noise schedule, size and labels are taken"""
    pictures: int = 200_000
    """length of the training: how many pictures are shown in all"""
    batch: int = 64
    """pictures a step"""
    seed: int = 0
    """decides initial weights, order, noise, times, and which pictures are kept back"""
    held_out: float = 0.1
    """share of the data kept back, to tell how often the classifier is right"""

    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(channels=32, multipliers=(1, 2, 4), patch=2, dropout=0.1)
    )
    """the U-Net whose first half it is"""
    lr: float = 1e-3
    """learning rate of AdamW after the warm-up"""
    warmup: int = 10_000
    """pictures over which the learning rate rises from 0"""
    cooldown: float = 0.5
    """last share of the training over which the learning rate falls to 0"""
    weight_decay: float = 0.05
    clip: float = 1.0
    """largest norm of the gradient"""
    ema_halflife: int = 10_000
    """half-life of the averaged weights, in pictures"""
    ema_rampup: float = 0.05
    """the half-life is at most this share of the pictures seen so far"""
    flip: bool = False
    """mirror half of the pictures; wrong for letters and clocks"""

    device: str = "auto"
    """cpu, cuda, mps …; auto: cuda if there is one, else cpu"""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice"""
    log_every: int = 10_000
    """pictures between reports of the loss"""

    def __post_init__(self) -> None:
        for name, kind in (("data", str), ("out", Path)):
            if isinstance(getattr(self, name), str | Path):  # not the command line's mark for "still to be given"
                object.__setattr__(self, name, kind(getattr(self, name)))
        for name in ("pictures", "batch", "log_every", "ema_halflife"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.seed <= 2**63 - 1:
            raise InputError(f"a seed is a whole number from 0 to 2**63 - 1, not {self.seed}")
        for name in ("warmup", "weight_decay", "threads"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} cannot be negative; it is {getattr(self, name)}")
        if not 0 <= self.cooldown <= 1:
            raise InputError(f"cooldown is a share from 0 to 1, not {self.cooldown}")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out is a share between 0 and 1, such as 0.1, not {self.held_out}")
        for name in ("lr", "clip", "ema_rampup"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
