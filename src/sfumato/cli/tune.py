"""`sfumato tune`: solver tables fitted to one model, for few steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.generation.model import Model
    from sfumato.solvers import Table
    from sfumato.tuning.reference import Reference

__all__ = ["Tune"]


@dataclass(frozen=True)
class Tune:
    """Fit a solver to a model, for each number of steps. `sfumato sample MODEL --solver tuned --steps 6` uses it.

    It needs no pictures: the model's own fine trajectories are what is fitted. Tables of other numbers of steps stay.
    """

    model: Positional[str]
    """a shipped name (emoji, emoji-text, emoji-64), a model folder, or the folder of a run"""
    steps: tuple[int, ...] = (4, 5, 6, 8, 10)
    """numbers of steps, a table for each"""
    pictures: int = 48
    """trajectories to fit to, and as many others to measure on"""
    seed: int = 1_000_000
    """of the first trajectory"""
    guidance_scale: float | None = None
    """w to fit for; default: the model's"""
    out: Path | None = None
    """folder for tuned.json; default: the model's own"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""

    def run(self) -> None:
        """Fit, measure, write."""
        from rich.console import Console
        from rich.progress import Progress, TaskID

        from sfumato.files import check_writable
        from sfumato.generation.model import load
        from sfumato.generation.request import seeds_from
        from sfumato.models.shipped import find_folder
        from sfumato.models.tuned import FILE, TunedTable, load_tuned, save_tuned
        from sfumato.tuning.fit import check_steps, fit_table
        from sfumato.tuning.reference import FINE_STEPS, reference_of

        if self.pictures < 1 or not self.steps:
            raise InputError("tune needs at least one picture and one number of steps")
        for steps in self.steps:
            check_steps(steps, FINE_STEPS)
        model = load(self.model, self.device)
        assert model.spec.weights is not None  # it was loaded
        folder, sha256 = self.out or find_folder(self.model), model.spec.weights.sha256
        check_writable(folder, need_bytes=0)
        tables = load_tuned(folder, sha256)
        seeds = seeds_from(2 * self.pictures, self.seed)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("solving finely", total=2 * self.pictures)
            halves = ((0, seeds[: self.pictures]), (self.pictures, seeds[self.pictures :]))
            fitted, unseen = (
                reference_of(
                    model, part, self.guidance_scale, progress=lambda n, done=done: bar.update(task, completed=done + n)
                )
                for done, part in halves
            )
            for steps in self.steps:
                task = bar.add_task(f"fitting {steps} steps", total=None)

                def show(tried: int, error: float, steps: int = steps, task: TaskID = task) -> None:
                    bar.update(task, description=f"fitting {steps} steps: {tried} tables tried, error {error:.4f}")

                table = fit_table(fitted, steps, [tuned.table for tuned in tables.values()], progress=show)
                bar.update(task, description=f"comparing {steps} steps")
                tables[steps] = TunedTable(table, fitted.guidance_scale, self._evidence(table, fitted, unseen, model))
                bar.remove_task(task)
                save_tuned(folder, sha256, tables)
                found = tables[steps].evidence
                best = found["best_hand_made"]
                print(
                    f"{steps:3d} steps: error {found['rmse']:.4f}; best of the hand-made {best['rmse']:.4f} "
                    f"({best['solver']}, {best['spacing']}): {1 - found['rmse'] / best['rmse']:.0%} less",
                    flush=True,
                )
        print(
            f"{folder / FILE}: tables for {', '.join(map(str, sorted(tables)))} steps, guidance scale "
            f"{fitted.guidance_scale:g}"
        )

    def _evidence(self, table: Table, fitted: Reference, unseen: Reference, model: Model) -> dict[str, Any]:
        """Errors of a table and of the best of some hand-made ones, on trajectories that the fit never saw."""
        from sfumato.solvers import solve
        from sfumato.tuning.compare import compared
        from sfumato.tuning.reference import FINE_STEPS

        best = min(compared(unseen, model.diffusion.schedule, table.steps), key=lambda other: other.rmse)
        first, last = self.seed, self.seed + 2 * self.pictures - 1
        return {
            "rmse": round(unseen.error(solve(unseen.denoise, unseen.start, table)), 5),
            "rmse_where_fitted": round(fitted.error(solve(fitted.denoise, fitted.start, table)), 5),
            "best_hand_made": {**best._asdict(), "rmse": round(best.rmse, 5)},
            "seeds": [first + self.pictures, last],
            "seeds_fitted": [first, first + self.pictures - 1],
            "reference": f"dpmpp-2m, {FINE_STEPS} steps, log-snr",
        }
