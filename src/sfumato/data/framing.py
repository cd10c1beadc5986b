"""How a picture of any shape becomes one of a given height and width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sfumato.errors import InputError
from sfumato.images import fit, pad, stretch

__all__ = ["Framing", "How"]

How = Literal["crop", "pad", "stretch", "random"]


@dataclass(frozen=True)
class Framing:
    """What is kept of a picture.

    Attributes:
        size: (height, width) of the result, in pixels.
        how: "crop" scales the picture to cover the result and keeps its centre; "pad" scales it to lie within and
            fills up with `background`, losing nothing; "stretch" scales height and width each as it must, which
            distorts; "random" covers like "crop", but keeps a rectangle of a random size at a random place, which is
            decided by `seed` and the number of the picture alone.
        background: any CSS colour; what transparent pictures are composited on too.
        least: of "random": smallest side of the rectangle, as a share of what "crop" would keep.
        seed: of "random".
    """

    size: tuple[int, int]
    how: How = "crop"
    background: str = "white"
    least: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise InputError(f"the size of a picture must be at least 1 x 1, not {self.size[0]} x {self.size[1]}")
        if self.how not in get_args(How) or not 0 < self.least <= 1:
            raise InputError(f"{self.how=}, {self.least=}: {', '.join(get_args(How))}, and a share above 0 and up to 1")

    @classmethod
    def of(cls, size: int | tuple[int, int], how: How = "crop", background: str = "white") -> Framing:
        """A framing whose `size` may be the side of a square."""
        return cls((size, size) if isinstance(size, int) else size, how, background)

    def __call__(self, image: np.ndarray, number: int = 0, size: tuple[int, int] | None = None) -> np.ndarray:
        """Frame a picture.

        Args:
            image: uint8 (H, W, C).
            number: of the picture; only "random" asks for it.
            size: where it is not the framing's own: that of the bucket.

        Returns:
            uint8 (height, width, C).
        """
        size = size or self.size
        if self.how == "pad":
            return pad(image, size, self.background)
        if self.how == "crop":
            return fit(image, size)
        if self.how == "stretch":
            return stretch(image, size)
        from sfumato.seeds import Stream, generator  # imports torch, which no other framing needs

        share, down, right = generator(self.seed, number, Stream.CROP).random(3).tolist()
        return fit(image, size, share=self.least + share * (1 - self.least), at=(down, right))
