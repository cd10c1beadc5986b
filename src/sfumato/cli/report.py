"""`sfumato report`: a page that shows a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page of a run: loss, loss by time, sheets of samples, warnings, all settings.

    The run may be finished, going on, or broken off; nothing of it is changed.
    """

    run_folder: Positional[Path]
    """the run's folder"""
    out: Path | None = None
    """file to write; default: RUN/report.html"""

    def run(self) -> None:
        """Read, write, and say where the page is."""
        from sfumato.files import write_text
        from sfumato.training.history import read_history
        from sfumato.training.history_page import history_page

        history = read_history(self.run_folder)
        out = self.out or self.run_folder / "report.html"
        write_text(out, history_page(history))
        print(f"{history.seen:,} of {history.asked:,} pictures. The page: {out}")
