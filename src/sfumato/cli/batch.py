"""`sfumato batch`: pictures for every row of a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from sfumato.cli.progress import counted
from sfumato.errors import SfumatoError

__all__ = ["Batch"]

SHOWN = 10  # failures


@dataclass(frozen=True)
class Batch:
    """Make the pictures that the rows of a file ask for, and manifest.jsonl, which says what each is.

    The file is CSV with a header, or JSON Lines. Columns: prompt or label, and if you like seed, n, negative,
    guidance_scale, steps, solver, size (WIDTHxHEIGHT) and name. Run it again to go on after an interruption.
    """

    model: Positional[str]
    """a shipped name (emoji), a model folder, or the folder of a run"""
    file: Positional[Path]
    """.csv or .jsonl"""
    seed: int = 0
    """of the first picture; pictures of rows without a seed count on from there"""
    steps: int | None = None
    """solver steps of rows that say nothing else; default: the model's"""
    solver: str | None = None
    """solver of rows that say nothing else; default: the model's"""
    spacing: str | None = None
    """where the steps lie: trailing, leading, linspace, quadratic, log-snr, karras, visible"""
    guidance_scale: Annotated[float | None, tyro.conf.arg(aliases=["--guidance"])] = None
    """w of rows that say nothing else"""
    negative: tuple[str, ...] = ()
    """labels or a prompt that rows go away from which say nothing else"""
    size: str | None = None
    """WIDTHxHEIGHT or one side, of rows that say nothing else; default: as trained"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5"""
    out: Path = Path("batch")
    """folder for the pictures"""
    batch: int = 64
    """pictures at once; does not change them"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""

    def run(self) -> None:
        """Check all rows, make what is not there yet, say what failed."""
        from sfumato.cli.sample import request_from, size_from
        from sfumato.generation.guidance import Guidance
        from sfumato.generation.model import load
        from sfumato.generation.tasks.batch import make_batch
        from sfumato.generation.tasks.jobs import read_jobs

        model, size = load(self.model, self.device), size_from(self.size)
        request = request_from(self.steps, self.solver, self.spacing, self.guidance_scale, size, self.option)
        request = replace(request, guidance=Guidance(negative=self.negative or None))

        with counted("pictures") as progress:
            report = make_batch(
                model,
                lambda: read_jobs(self.file, request, self.seed, size_from),
                self.out,
                batch=self.batch,
                progress=progress,
            )
        print(f"{report.made} pictures made, {report.skipped} were there already: {self.out}")
        if report.failed:
            told = [f"line {line}: {why}" for line, why in list(report.failed.items())[:SHOWN]]
            more = len(report.failed) - SHOWN
            told += [f"… and {more} more"] if more > 0 else []
            raise SfumatoError("\n  ".join([f"{len(report.failed)} rows of {self.file} failed:", *told]))
