"""`sfumato batch`: pictures for every row of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from sfumato.cli.progress import counted
from sfumato.cli.sampling import Sampling, size_from
from sfumato.errors import SfumatoError

__all__ = ["Batch"]

SHOWN = 10  # failures


@dataclass(frozen=True, kw_only=True)
class Batch(Sampling):
    """Make the pictures that the rows of a file ask for, and manifest.jsonl, which says what each is.

    The file is CSV with a header, or JSON Lines. Columns: prompt or label, and if you like seed, n, negative,
    guidance_scale, steps, solver, size (WIDTHxHEIGHT) and name. Options are for rows that say nothing else; pictures of
    rows without a seed count on from --seed. Run it again to go on after an interruption.
    """

    file: Positional[Path]
    """.csv or .jsonl"""
    out: Path = Path("batch")
    """folder for the pictures"""

    def run(self) -> None:
        """Check all rows, make what is not there yet, say what failed."""
        from sfumato.generation.tasks.batch import make_batch
        from sfumato.generation.tasks.jobs import read_jobs

        model, request = self.load(), self.request()
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
