"""`sfumato compare`: two models, or two settings of one, and whether the difference is more than noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from sfumato.cli.progress import staged
from sfumato.cli.sampling import options_from

if TYPE_CHECKING:
    from sfumato.generation.request import Request

__all__ = ["Compare", "Setting"]


@dataclass(frozen=True)
class Setting:
    """How one side samples. What is not given is the model's default."""

    steps: int | None = None
    """solver steps"""
    solver: str | None = None
    """a name from `sfumato solvers`, or tuned"""
    spacing: str | None = None
    """where the steps lie"""
    guidance_scale: float | None = None
    """w of classifier-free guidance; 1 is none"""
    guidance_interval: tuple[float, float] | None = None
    """guidance only between these times"""
    guidance_rescale: float = 0.0
    """contrast of the guided picture: 0 as it comes, 1 as without guidance"""
    dynamic_threshold: float | None = None
    """percentile of dynamic thresholding"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5"""

    def request(self) -> Request:
        """In the form that models take."""
        from sfumato.generation.guidance import Guidance
        from sfumato.generation.request import Request

        return Request(
            steps=self.steps,
            solver=self.solver,
            spacing=self.spacing,
            guidance_scale=self.guidance_scale,
            options=tuple(options_from(self.option).items()),
            guidance=Guidance(interval=self.guidance_interval, rescale=self.guidance_rescale),
            dynamic_threshold=self.dynamic_threshold,
        )


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Measure A and B by the same seeds and the same real pictures: a table, comparison.json, and index.html.

    sfumato compare emoji --a.steps 10 --b.steps 20 compares two settings of one model. Run it again to go on after an
    interruption.
    """

    model: Positional[str]
    """A: a shipped name (emoji, emoji-text, emoji-64), a model folder, or the folder of a run"""
    other: Positional[str | None] = None
    """B, likewise; not given: the same model"""
    a: Setting = field(default_factory=Setting)
    b: Setting = field(default_factory=Setting)
    data: str | None = None
    """real pictures: a name, a packed file or a folder; default: what A was trained on"""
    n: int | None = None
    """samples of each side, and real pictures beside them; default: half of the real ones, at most 5,000"""
    seed: int = 0
    """of the first sample of both; the next have seed + 1, seed + 2 …"""
    extractor: str = "efficientnet-lite0"
    """what looks at pictures: efficientnet-lite0, inception=FILE, dinov2=FOLDER, clip=FOLDER or onnx=FILE"""
    draws: int | None = None
    """draws for each interval; default: 100, or 40 for more than 2,000 pictures"""
    batch: int = 64
    """pictures at once; does not change them"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""
    out: Path = Path("comparison")
    """folder for samples, comparison.json and index.html"""

    def run(self) -> None:
        """Sample, measure, write, print."""
        from sfumato.evaluation.compare import Side, compare
        from sfumato.evaluation.extractors.open import open_extractor
        from sfumato.evaluation.pages.comparison import comparison_page
        from sfumato.evaluation.real import open_real
        from sfumato.files import write_text
        from sfumato.generation.model import load

        model = load(self.model, self.device)
        other = model if self.other is None else load(self.other, self.device)
        extractor = open_extractor(self.extractor, str(model.device))
        real = open_real(model.spec, self.data)
        with staged() as progress:
            found = compare(
                Side(model, self.a.request()),
                Side(other, self.b.request()),
                real,
                extractor,
                self.out,
                n=self.n,
                seed=self.seed,
                draws=self.draws,
                batch=self.batch,
                progress=progress,
            )
        found.comparison.save(self.out / "comparison.json")
        write_text(self.out / "index.html", comparison_page(found))
        print(found.comparison)
        print(f"\n{self.out / 'index.html'}: the page. {self.out / 'comparison.json'}: all numbers.")
