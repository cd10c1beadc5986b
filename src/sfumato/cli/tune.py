"""`sfumato tune`: solver tables fitted to one model, for few steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from sfumato.errors import InputError

__all__ = ["Tune"]


@dataclass(frozen=True)
class Tune:
    """Fit a solver to a model, for each number of steps. `sfumato sample MODEL --solver tuned --steps 6` uses it.

    It needs no pictures: the model's own fine trajectories are what is fitted. Tables of other numbers of steps stay.
    """

    model: Positional[str]
    """a shipped name (emoji), a model folder, or the folder of a run"""
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
        from rich.progress import Progress

        from sfumato.files import check_writable
        from sfumato.generation.model import load
        from sfumato.models.shipped import find_folder
        from sfumato.models.tuned import TunedTable, load_tuned, save_tuned
        from sfumato.solvers import solve
        from sfumato.tuning.compare import compared
        from sfumato.tuning.fit import fit_table
        from sfumato.tuning.reference import FINE_STEPS, reference_of

        if self.pictures < 1 or not self.steps:
            raise InputError("tune needs at least one picture and one number of steps")
        model = load(self.model, self.device)
        assert model.spec.weights is not None  # it was loaded
        folder = self.out or find_folder(self.model)
        check_writable(folder, need_bytes=0)
        sha256 = model.spec.weights.sha256
        tables = load_tuned(folder, sha256)
        scale = model.spec.sampling.guidance_scale if self.guidance_scale is None else self.guidance_scale
        seeds = [range(first, first + self.pictures) for first in (self.seed, self.seed + self.pictures)]
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("solving finely", total=2 * self.pictures)
            fitted, unseen = (
                reference_of(model, list(part), scale, progress=lambda n, k=k: bar.update(task, completed=n + k))
                for k, part in zip((0, self.pictures), seeds, strict=True)
            )
            for steps in self.steps:
                task = bar.add_task(f"fitting {steps} steps", total=None)
                table = fit_table(
                    fitted,
                    steps,
                    [tuned.table for tuned in tables.values()],
                    progress=lambda tried, error, steps=steps, task=task: bar.update(
                        task, description=f"fitting {steps} steps: {tried} tables tried, error {error:.4f}"
                    ),
                )
                error = unseen.error(solve(unseen.denoise, unseen.start, table))
                bar.update(task, description=f"comparing {steps} steps")
                best = min(compared(unseen, model.diffusion.schedule, steps), key=lambda other: other.rmse)
                bar.remove_task(task)
                evidence = {
                    "rmse": round(error, 5),
                    "rmse_where_fitted": round(fitted.error(solve(fitted.denoise, fitted.start, table)), 5),
                    "best_hand_made": {**best._asdict(), "rmse": round(best.rmse, 5)},
                    "seeds": [seeds[1][0], seeds[1][-1]],
                    "seeds_fitted": [seeds[0][0], seeds[0][-1]],
                    "reference": f"dpmpp-2m, {FINE_STEPS} steps, log-snr",
                }
                tables[steps] = TunedTable(table, scale, evidence)
                save_tuned(folder, sha256, tables)
                print(
                    f"{steps:3d} steps: error {error:.4f}; best hand-made {best.rmse:.4f} ({best.solver}, "
                    f"{best.spacing}): {1 - error / best.rmse:.0%} less",
                    flush=True,
                )
        print(
            f"{folder / 'tuned.json'}: tables for {', '.join(map(str, sorted(tables)))} steps, guidance scale {scale:g}"
        )
