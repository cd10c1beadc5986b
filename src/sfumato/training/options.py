"""Options that every kind of training has, with their checks. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from sfumato.errors import InputError
from sfumato.sizes import parse_size, written

__all__ = ["LearningOptions", "RunOptions"]


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """Learning from pictures. Its length, and every interval within it, is counted in pictures."""

    data: str
    """a folder of pictures, a packed file, or a name: emoji, emoji/food,animals, cifar10, fashion-mnist"""
    out: Path
    """folder for the result"""
    pictures: int = 200_000
    """length of the training: how many pictures are shown in all"""
    batch: int = 64
    """pictures a step"""
    seed: int = 0
    """decides all that is random"""

    lr: float = 1e-3
    """learning rate of AdamW after the warm-up"""
    warmup: int = 10_000
    """pictures over which the learning rate rises from 0"""
    cooldown: float = 0.2
    """last share of the training over which the learning rate falls to 0"""
    weight_decay: float = 0.0
    """of AdamW"""
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
        self._at_least_one("pictures", "batch", "log_every", "ema_halflife")
        if not 0 <= self.seed <= 2**63 - 1:
            raise InputError(f"a seed is a whole number from 0 to 2**63 - 1, not {self.seed}")
        self._not_negative("warmup", "weight_decay", "threads")
        if not 0 <= self.cooldown <= 1:
            raise InputError(f"cooldown is a share from 0 to 1, not {self.cooldown}")
        for name in ("lr", "clip", "ema_rampup"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")

    def _share_kept_back(self, held_out: float) -> None:
        if not 0 < held_out < 1:
            raise InputError(f"held_out is a share between 0 and 1, such as 0.1, not {held_out}")

    def _at_least_one(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")

    def _not_negative(self, *names: str) -> None:
        for name in names:
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} cannot be negative; it is {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class RunOptions(LearningOptions):
    """A training that can be resumed, in a folder of its own."""

    verb: ClassVar[str]  # the command that goes on with it

    out: Path
    """folder of the run; the finished result is OUT/model"""
    size: int | str = 64
    """of the training pictures: WIDTHxHEIGHT such as 48x32, or the side of a square"""
    framing: Literal["crop", "pad", "stretch", "random"] = "crop"
    """of pictures in files: crop keeps the centre, pad adds white, stretch distorts, random keeps a random rectangle"""
    max_bad: float = 0.1
    """of pictures in files: greatest share that may be unreadable; they are left out and named"""
    workers: int = 0
    """threads that decode pictures and prepare batches, 0 for none; the result is the same for any number"""
    resume: bool = False
    """go on with the run in OUT from its last checkpoint"""
    checkpoint_every: int = 25_000
    """pictures between checkpoints"""
    sample_every: int = 50_000
    """pictures between sheets to look at; 0: none"""
    keep: int = 2
    """checkpoints kept"""
    tensorboard: bool = False
    """also write OUT/tensorboard; needs the extra `tensorboard`"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least_one("checkpoint_every", "keep")
        self._not_negative("workers", "sample_every")
        height, width = parse_size(str(self.size))
        # one way to write it, so that a run that goes on with 32x32 is the one that began with 32
        object.__setattr__(self, "size", height if height == width else written((height, width)))

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) of the training pictures."""
        return parse_size(str(self.size))
