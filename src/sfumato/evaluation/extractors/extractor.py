"""`Extractor`: a network's features of pictures, with all that a number made from them depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Extractor"]


@dataclass(frozen=True, eq=False)
class Extractor:
    """Pictures -> features.

    Attributes:
        name: of the network, as `names.metric_name` takes it: "EffNetLite0", "Inception-v3" …
        sha256: of its weights.
        preprocessing: what is done to pictures before, in words: resizing, range.
        width: numbers a picture, D.
        features: uint8 (n, H, W, 1 or 3) -> float32 (n, D). Pictures of each batch on their own: no batch statistics.
        probabilities: features (n, D) -> class probabilities (n, classes), where the network classifies.
        settings: what else features depend on and neither weights nor name tell, such as the number of heads.
    """

    name: str
    sha256: str
    preprocessing: str
    width: int
    features: Callable[[np.ndarray], np.ndarray]
    probabilities: Callable[[np.ndarray], np.ndarray] | None = None
    settings: str = ""

    @property
    def key(self) -> str:
        """Equal exactly where features are: what caches go by."""
        return " | ".join((self.name, self.sha256, self.preprocessing, self.settings))
