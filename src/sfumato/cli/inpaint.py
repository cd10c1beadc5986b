"""`sfumato inpaint`: a part of a picture, or what is around it, made new."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.cli.picture_task import PictureTask, read_picture
from sfumato.cli.progress import counted
from sfumato.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Inpaint"]


@dataclass(frozen=True, kw_only=True)
class Inpaint(PictureTask):
    """Make a part of a picture new (--mask), or what is around it (--outpaint): 0000.png … and grid.png.

    All other pixels stay as they are, to the bit.
    """

    mask: Path | None = None
    """picture of the same size: white is made new, black stays"""
    outpaint: tuple[int, int, int, int] | None = None
    """instead of a mask: pixels to add on the left, at the top, on the right, at the bottom"""
    strength: float = 1.0
    """below 1, what was under the mask shines through: the time to start from"""
    repeats: int = 1
    """how often each stretch of steps is done, so that what is new fits better (RePaint); 1: once"""
    jump: int | None = None
    """steps of such a stretch; default: 10"""
    feather: int = 0
    """width in pixels over which the old is blended into the new; 0: every old pixel stays"""
    out: Path = Path("inpainted")
    """folder for the pictures"""

    def run(self) -> None:
        """Read, make, save."""
        from sfumato.files import check_writable
        from sfumato.generation.tasks.inpaint import inpaint
        from sfumato.generation.tasks.times import Resampling, begun, table_of

        model = self.load()
        picture, mask = self._both(read_picture(self.picture, model))
        request, resampling = self.request(), Resampling(self.repeats, self.jump)
        table = table_of(model, begun(model, request, self.strength), resampling)
        if self.show_table:
            print(table)
        check_writable(self.out, need_bytes=0)
        with counted("pictures") as progress:
            images = inpaint(
                model,
                picture,
                mask,
                self.n,
                request=request,
                seed=self.seed,
                label=self.label or None,
                prompt=self.prompt,
                strength=self.strength,
                resampling=resampling,
                feather=self.feather,
                batch=self.batch,
                progress=lambda done: progress(done, self.n),
            )
        self.save(images, self.out, table, f"{mask.mean():.0%} new")

    def _both(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The picture, and where it is new: bool (H, W)."""
        from sfumato.generation.tasks.mask import check_mask, enlarged
        from sfumato.images import decode

        if (self.mask is None) == (self.outpaint is None):
            raise InputError("say what is to be made new: either --mask MASK.png or --outpaint LEFT TOP RIGHT BOTTOM")
        if self.outpaint is not None:
            return enlarged(self.scaled(picture), self.outpaint)
        assert self.mask is not None
        mask = decode(self.mask, mode="L")
        check_mask(mask, picture)
        picture = self.scaled(picture)
        return picture, check_mask(self.scaled(mask), picture)
