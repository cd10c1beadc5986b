"""What `edit` and `inpaint` have in common: a model, a picture, and how new pictures are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from sfumato.cli.sampling import Sampling, size_from
from sfumato.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from sfumato.generation.model import Model
    from sfumato.generation.request import Request
    from sfumato.images import Images
    from sfumato.solvers import Table

__all__ = ["PictureTask", "read_picture"]


@dataclass(frozen=True, kw_only=True)
class PictureTask(Sampling):
    """The options of both."""

    picture: Positional[Path]
    """the picture to begin with"""
    prompt: str | None = None
    """for a model that reads texts, what to see; not given: no prompt"""
    label: tuple[str, ...] = ()
    """names such as food noto; not given: no label"""
    n: int = 4
    """how many pictures, each with a noise of its own"""
    size: str | None = None
    """WIDTHxHEIGHT or one side: the picture is scaled to cover it, and its centre taken; default: as it is"""
    show_table: bool = False
    """print the solver's table: the exact times it visits and its weights"""

    def request(self) -> Request:
        """How the pictures are asked for, but for their size, which is that of the picture."""
        return replace(super().request(), size=None)

    def scaled(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, C) in the size that was asked for."""
        from sfumato.images import fit

        size = size_from(self.size)
        return picture if size is None else fit(picture, size)

    def save(self, images: Images, out: Path, table: Table, how: str) -> None:
        """Write pictures and grid, and say how they were made."""
        from sfumato.generation.provenance import MARK
        from sfumato.images import save_png

        images.save(out)
        save_png(out / "grid.png", images.grid(), MARK)
        print(
            f"{len(images)} pictures in {out}: {how}, {table.name} from t = {table.times[0]:g}, {table.steps} steps, "
            f"{table.calls} network calls, seeds {self.seed}…{self.seed + self.n - 1}"
        )


def read_picture(path: Path, model: Model) -> np.ndarray:
    """A picture with the channels of the model's, uint8 (H, W, C). Grey becomes colour, which changes nothing of it.

    Raises `InputError` for what is no picture, and for a colour picture where the model makes grey ones.
    """
    from sfumato.images import decode, shown

    picture = decode(path)
    if model.spec.channels != 1:
        return picture
    if (picture != picture[:, :, :1]).any():
        raise InputError(f"{shown(path)} is in colour, and {model.spec.name!r} makes grey pictures; save it in grey")
    return picture[:, :, :1]
