"""`sfumato sample`: pictures from a model, as PNG files and a grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfumato.cli.sampling import Sampling

__all__ = ["Sample"]


@dataclass(frozen=True, kw_only=True)
class Sample(Sampling):
    """Make pictures with a model: 0000.png, 0001.png … and grid.png."""

    n: int = 16
    """how many pictures"""
    label: tuple[str, ...] = ()
    """names such as food noto, or none; not given: labels drawn as often as in the training data"""
    prompt: tuple[str, ...] = ()
    """for a model that reads texts, what to see; of several, the pictures take one after the other"""
    times: tuple[float, ...] = ()
    """own times instead of steps and spacing, falling from 1 (noise) to 0 (data): 1 .9 .7 .4 0"""
    end: str = "data"
    """data, or sigma-min to stop at the least noise that was trained on"""
    out: Path = Path("samples")
    """folder for the pictures"""
    show_table: bool = False
    """print the solver's table: the exact times it visits and its weights"""
    steps_strip: bool = False
    """also write steps.png: noise becoming picture, a row for each of the first pictures"""

    def run(self) -> None:
        """Sample, save, and say how it was done."""
        import time
        from dataclasses import replace

        from sfumato.files import check_writable
        from sfumato.generation.provenance import MARK
        from sfumato.generation.request import seeds_from
        from sfumato.generation.strip import steps_strip
        from sfumato.images import save_png

        model = self.load()
        request = replace(self.request(), times=self.times or None, end=self.end)
        guidance, table = request.guidance, model.table(request)  # a mistake shows before anything is written
        seeds, label = seeds_from(self.n, self.seed), self.label or None
        prompt = [self.prompt[i % len(self.prompt)] for i in range(self.n)] if self.prompt else None
        scale = model.guidance_scale(request, model.ask(seeds, label, prompt, guidance))
        if self.show_table:
            print(table)
        check_writable(self.out, need_bytes=0)
        started = time.perf_counter()
        images = model.make(request, self.n, seed=seeds, label=label, prompt=prompt, batch=self.batch)
        seconds = time.perf_counter() - started
        images.save(self.out)
        save_png(self.out / "grid.png", images.grid(), MARK)
        if self.steps_strip:
            shown = None if prompt is None else prompt[:8]
            save_png(self.out / "steps.png", steps_strip(model, seeds[:8], label, request, prompt=shown), MARK)
        print(
            f"{self.n} pictures in {self.out} ({seconds:.1f} s): {table.name}, {table.steps} steps, "
            f"{table.calls} network calls, spacing {table.spacing}, guidance scale {scale:g}"
            f"{f' ({guidance})' if str(guidance) else ''}, "
            f"{model.spec.which_weights} weights of {model.spec.name}, seeds {seeds[0]}…{seeds[-1]}"
        )
