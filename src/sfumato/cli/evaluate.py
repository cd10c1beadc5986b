"""`sfumato evaluate`: a Fréchet distance with everything it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate:
    """Measure FD-EffNetLite0 between a model's samples and real pictures, beside real against real."""

    model: Positional[str]
    """a shipped name (emoji, emoji-text), a model folder, or the folder of a run"""
    data: str
    """the real pictures: a name, a packed file or a folder"""
    n: int | None = None
    """pictures on each side; default: half of the data, at most 5,000"""
    seed: int = 0
    """of the first sample"""
    steps: int | None = None
    """solver steps; default: the model's"""
    solver: str | None = None
    """default: the model's"""
    spacing: str | None = None
    """where the steps lie; default: the model's, or the solver's"""
    guidance_scale: float | None = None
    """default: the model's"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5"""
    out: Path | None = None
    """also write the result as JSON"""
    device: str = "cpu"
    """cpu, cuda …"""

    def run(self) -> None:
        """Sample, measure, print."""
        from rich.console import Console
        from rich.progress import Progress

        from sfumato.cli.sampling import options_from
        from sfumato.data.sources import open_data
        from sfumato.devices import find_device
        from sfumato.evaluation.evaluate import MAX_PICTURES, evaluate
        from sfumato.evaluation.features import NAME, efficientnet_lite0
        from sfumato.files import write_text
        from sfumato.generation.model import load
        from sfumato.generation.request import Request

        features = efficientnet_lite0(str(find_device(self.device)))
        model = load(self.model, self.device)
        height, width = model.spec.size
        data = open_data(self.data, size=height if height == width else None)
        options = tuple(options_from(self.option).items())
        request = Request(self.steps, self.solver, self.spacing, self.guidance_scale, options=options)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("sampling", total=min(len(data) // 2, MAX_PICTURES if self.n is None else self.n))
            score = evaluate(
                model,
                data,
                features,
                NAME,
                n=self.n,
                seed=self.seed,
                request=request,
                progress=lambda done: bar.update(task, completed=done),
            )
        print(score)
        if self.out:
            write_text(self.out, score.to_json() + "\n")
