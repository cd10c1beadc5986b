"""What `edit` and `inpaint` have in common: a model, a picture, and how new pictures are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from sfumato.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from sfumato.generation.model import Model, Request
    from sfumato.images import Images
    from sfumato.solvers import Table

__all__ = ["PictureTask", "read_picture"]


@dataclass(frozen=True)
class PictureTask:
    """The options of both."""

    model: Positional[str]
    """a shipped name (emoji), a model folder, or the folder of a run"""
    picture: Positional[Path]
    """the picture to begin with"""
    prompt: str | None = None
    """for a model that reads texts, what to see; not given: no prompt"""
    label: tuple[str, ...] = ()
    """names such as food noto; not given: no label"""
    n: int = 4
    """how many pictures, each with a noise of its own"""
    seed: int = 0
    """of the first picture; the next have seed + 1, seed + 2 …"""
    steps: int | None = None
    """solver steps, all of which are done; default: the model's"""
    solver: str | None = None
    """a name from `sfumato solvers`; default: the model's"""
    spacing: str | None = None
    """where the steps lie: trailing, leading, linspace, quadratic, log-snr, karras, visible"""
    guidance_scale: Annotated[float | None, tyro.conf.arg(aliases=["--guidance"])] = None
    """w of classifier-free guidance; 1 is none"""
    negative: tuple[str, ...] = ()
    """labels or a prompt to go away from, instead of from none"""
    size: str | None = None
    """WIDTHxHEIGHT or one side: the picture is scaled to cover it, and its centre taken; default: as it is"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5"""
    batch: int = 64
    """pictures at once; does not change them"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""
    show_table: bool = False
    """print the solver's table: the exact times it visits and its weights"""

    def request(self) -> Request:
        """How the pictures are asked for, but for their size, which is that of the picture."""
        from sfumato.cli.sample import request_from
        from sfumato.generation.guidance import Guidance

        request = request_from(self.steps, self.solver, self.spacing, self.guidance_scale, None, self.option)
        return replace(request, guidance=Guidance(negative=self.negative or None))

    def scaled(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, C) in the size that was asked for."""
        from sfumato.cli.sample import size_from
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
