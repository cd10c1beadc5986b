"""`sfumato interpolate`: the pictures between two pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

__all__ = ["Interpolate"]


@dataclass(frozen=True)
class Interpolate:
    """Take two pictures to their noise, mix, and come back: 0000.png, 0001.png … and grid.png."""

    model: Positional[str]
    """a shipped name (emoji), a model folder, or the folder of a run"""
    a: Positional[Path]
    """the picture to begin with"""
    b: Positional[Path]
    """the picture to end with"""
    n: int = 8
    """how many pictures, a and b as the model sees them included"""
    label: tuple[str, ...] = ()
    """labels that both have; not given: none"""
    steps: int = 50
    """solver steps, of the way up and of the way down"""
    solver: str = "heun"
    """a deterministic one of `sfumato solvers`"""
    spacing: str | None = None
    """where the steps lie; default: the solver's"""
    guidance_scale: float = 1.0
    """w of classifier-free guidance"""
    out: Path = Path("between")
    """folder for the pictures"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""

    def run(self) -> None:
        """Read, mix, save."""
        from sfumato.files import check_writable
        from sfumato.generation.latents import interpolate
        from sfumato.generation.model import load
        from sfumato.generation.provenance import MARK
        from sfumato.images import decode, fit, save_png

        model = load(self.model, self.device)
        height, width = model.spec.size
        mode = "L" if model.network.config.in_channels == 1 else "RGB"
        a, b = (fit(decode(path, mode=mode), (height, width)) for path in (self.a, self.b))
        check_writable(self.out, need_bytes=0)
        images = interpolate(
            model,
            a,
            b,
            self.n,
            self.label or None,
            steps=self.steps,
            solver=self.solver,
            spacing=self.spacing,
            guidance_scale=self.guidance_scale,
        )
        images.save(self.out)
        save_png(self.out / "grid.png", images.grid(columns=self.n), MARK)
        print(f"{self.n} pictures in {self.out}: {self.solver}, {self.steps} steps up and down")
