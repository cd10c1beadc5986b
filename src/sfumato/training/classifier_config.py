"""Everything that decides the training of a classifier, as one frozen value. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from sfumato.networks.config import UNetConfig
from sfumato.training.options import LearningOptions

__all__ = ["ClassifierConfig"]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(LearningOptions):
    """Training a classifier of noisy pictures. Its length is counted in pictures; it cannot be resumed."""

    data: str
    """labelled pictures: a folder with sub-folders, a packed file, or a name such as emoji/food,animals"""
    model: str
    """the model that it will guide; its noise schedule, size and labels are taken"""
    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(channels=32, multipliers=(1, 2, 4), patch=2, dropout=0.1)
    )
    """the U-Net whose first half it is"""
    held_out: float = 0.1
    """share of the data kept back, to tell how well it does on pictures that it has not seen"""
    cooldown: float = 0.5
    """last share of the training over which the learning rate falls to 0"""
    weight_decay: float = 0.05
    """of AdamW"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._share_kept_back(self.held_out)
