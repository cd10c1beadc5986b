"""`sfumato interpolate`: the pictures between two pictures, two prompts, or two seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.generation.model import Model
    from sfumato.images import Images

__all__ = ["Interpolate"]


@dataclass(frozen=True)
class Interpolate:
    """Make the pictures between two: 0000.png, 0001.png … and grid.png.

    Between two pictures, which are taken to their noise; between two --prompts, with one noise; or between the noises
    of two --seeds, with one prompt or label.
    """

    model: Positional[str]
    """a shipped name (emoji, emoji-text, emoji-64), a model folder, or the folder of a run"""
    a: Positional[Path | None] = None
    """the picture to begin with"""
    b: Positional[Path | None] = None
    """the picture to end with"""
    prompts: tuple[str, str] | None = None
    """what the first and the last picture show"""
    seeds: tuple[int, int] | None = None
    """of the first and the last picture"""
    n: int = 8
    """how many pictures, the first and the last included"""
    label: tuple[str, ...] = ()
    """labels of all; not given: none"""
    prompt: str | None = None
    """between seeds, what all show; not given: no prompt"""
    seed: int | None = None
    """between prompts, the noise of all; default: 0"""
    steps: int | None = None
    """solver steps; default: the model's, and 50 up and 50 down between pictures"""
    solver: str | None = None
    """one of `sfumato solvers`, deterministic but between prompts; default: the model's, and heun between pictures"""
    spacing: str | None = None
    """where the steps lie; default: the solver's"""
    guidance_scale: Annotated[float | None, tyro.conf.arg(aliases=["--guidance"])] = None
    """w of classifier-free guidance; default: the model's, and 1 between pictures"""
    out: Path = Path("between")
    """folder for the pictures"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""

    def run(self) -> None:
        """Make, save."""
        from sfumato.files import check_writable
        from sfumato.generation.model import load
        from sfumato.generation.provenance import MARK
        from sfumato.images import save_png

        ways = (self.a is not None, self.prompts is not None, self.seeds is not None)
        if ways.count(True) != 1 or (self.a is None) != (self.b is None):
            raise InputError("say between what: two pictures, --prompts A B, or --seeds A B")
        if self.prompt is not None and self.seeds is None:
            raise InputError("--prompt is for what is between --seeds; give --prompts A B for what is between prompts")
        if self.seed is not None and self.prompts is None:
            raise InputError("--seed is for what is between --prompts; two pictures bring their noise, --seeds name it")
        if self.label and self.prompts is not None:
            raise InputError("between --prompts there are no labels; leave --label out")
        model = load(self.model, self.device)
        check_writable(self.out, need_bytes=0)
        images, how = self._between_noises(model) if self.a is None else self._between_pictures(model)
        images.save(self.out)
        save_png(self.out / "grid.png", images.grid(columns=self.n), MARK)
        print(f"{self.n} pictures in {self.out}: {how}")

    def _between_pictures(self, model: Model) -> tuple[Images, str]:
        from sfumato.cli.picture_task import read_picture
        from sfumato.generation.latents import interpolate
        from sfumato.images import fit

        a, b = (fit(read_picture(path, model), model.spec.size) for path in (self.a, self.b) if path is not None)
        steps, solver = 50 if self.steps is None else self.steps, self.solver or "heun"
        w = 1.0 if self.guidance_scale is None else self.guidance_scale
        how = {"steps": steps, "solver": solver, "spacing": self.spacing, "guidance_scale": w}
        return interpolate(model, a, b, self.n, self.label or None, **how), f"{solver}, {steps} steps up and down"

    def _between_noises(self, model: Model) -> tuple[Images, str]:
        from sfumato.generation.request import Request
        from sfumato.generation.tasks.between import between_prompts, between_seeds

        request = Request(self.steps, self.solver, self.spacing, self.guidance_scale)
        table = model.table(request)
        how = f"{table.name}, {table.steps} steps, {table.calls} network calls"
        if self.prompts is not None:
            return between_prompts(model, *self.prompts, self.n, request=request, seed=self.seed or 0), how
        assert self.seeds is not None
        label = self.label or None
        return between_seeds(model, *self.seeds, self.n, request=request, label=label, prompt=self.prompt), how
