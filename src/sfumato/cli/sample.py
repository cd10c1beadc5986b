"""`sfumato sample`: pictures from a model, as PNG files and a grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.generation.model import Request

__all__ = ["Sample", "option_value", "request_from"]


@dataclass(frozen=True)
class Sample:
    """Make pictures with a model: 0000.png, 0001.png … and grid.png."""

    model: Positional[str]
    """a shipped name (emoji), a model folder, or the folder of a run"""
    n: int = 16
    """how many pictures"""
    steps: int | None = None
    """solver steps; default: the model's"""
    solver: str | None = None
    """ddpm, ddim, euler, heun, dpmpp-2m; default: the model's"""
    spacing: str | None = None
    """where the steps lie: trailing, leading, linspace, quadratic, log-snr, karras"""
    seed: int = 0
    """of the first picture; the next have seed + 1, seed + 2 …"""
    label: tuple[str, ...] = ()
    """names such as food noto, or none; not given: labels drawn as often as in the training data"""
    guidance_scale: float | None = None
    """w of classifier-free guidance; 1 is none"""
    size: tuple[int, int] | None = None
    """height and width; default: as trained"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5 or variance=large"""
    out: Path = Path("samples")
    """folder for the pictures"""
    batch: int = 64
    """pictures at once; does not change them"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""
    show_table: bool = False
    """print the solver's table: the exact times it visits and its weights"""
    steps_strip: bool = False
    """also write steps.png: noise becoming picture, a row for each of the first pictures"""

    def run(self) -> None:
        """Sample, save, and say how it was done."""
        import time

        from sfumato.files import check_writable
        from sfumato.generation.model import MARK, load, seeds_from
        from sfumato.generation.strip import steps_strip
        from sfumato.images import save_png

        model = load(self.model, self.device)
        request = request_from(self.steps, self.solver, self.spacing, self.guidance_scale, self.size, self.option)
        table = model.table(request)  # a mistake in the options shows before anything is written
        seeds, label = seeds_from(self.n, self.seed), self.label or None
        scale = model.guidance_scale(request, model.label_rows(label, seeds))
        if self.show_table:
            print(table)
        check_writable(self.out, need_bytes=0)
        started = time.perf_counter()
        images = model.make(request, self.n, seed=seeds, label=label, batch=self.batch)
        seconds = time.perf_counter() - started
        images.save(self.out)
        save_png(self.out / "grid.png", images.grid(), MARK)
        if self.steps_strip:
            save_png(self.out / "steps.png", steps_strip(model, seeds[:8], label, request), MARK)
        print(
            f"{self.n} pictures in {self.out} ({seconds:.1f} s): {table.name}, {table.steps} steps, "
            f"{table.calls} network calls, spacing {table.spacing}, guidance scale {scale:g}, "
            f"{model.spec.which_weights} weights of {model.spec.name}, seeds {seeds[0]}…{seeds[-1]}"
        )


def request_from(
    steps: int | None,
    solver: str | None,
    spacing: str | None,
    guidance_scale: float | None,
    size: tuple[int, int] | None,
    option: tuple[str, ...],
) -> Request:
    """A `Request` from what stands on the command line."""
    from sfumato.generation.model import Request

    options = []
    for item in option:
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"--option {item!r}: write name=value, such as eta=0.5")
        if key in ("name", "schedule", "steps", "spacing", "times"):
            raise InputError(f"--option {item!r}: {key} is no option of a solver")
        options.append((key, option_value(value)))
    return Request(steps, solver, spacing, guidance_scale, size, options=tuple(options))


def option_value(text: str) -> int | float | str:
    """A number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
