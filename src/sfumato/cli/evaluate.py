"""`sfumato evaluate`: how good a model's pictures are, in numbers that say how they came about, and in a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sfumato.cli.progress import staged
from sfumato.cli.sampling import Sampling

__all__ = ["Evaluate"]


@dataclass(frozen=True, kw_only=True)
class Evaluate(Sampling):
    """Measure a model's samples beside real pictures: a table, report.json, and index.html to look at.

    Each number comes with its interval, with the same number of other real pictures, and with all that it depends on.
    Run it again to go on after an interruption.
    """

    data: str | None = None
    """real pictures: a name, a packed file or a folder; default: what the model was trained on"""
    n: int | None = None
    """samples, and real pictures beside them; default: half of the real ones, at most 5,000"""
    curve: tuple[int, ...] = ()
    """numbers of steps, such as 5 10 20 50: the Fréchet distance by steps, with n samples for each"""
    bits: int = 0
    """count bits per dimension of so many real pictures, with 100 network calls for each; see sfumato likelihood"""
    training: str | None = None
    """what the model was trained on, where it is not found by the name that the model has for it"""
    held_out: str | None = None
    """real pictures like those, which training never saw; default: the part that belongs to a known data set"""
    extractor: str = "efficientnet-lite0"
    """what looks at pictures: efficientnet-lite0, inception=FILE, dinov2=FOLDER, clip=FOLDER or onnx=FILE"""
    draws: int | None = None
    """draws for each interval; default: 100, or 40 for more than 2,000 pictures"""
    out: Path = Path("evaluation")
    """folder for samples, report.json and index.html"""

    def run(self) -> None:
        """Sample, measure, write, print."""
        from sfumato.evaluation.evaluate import evaluate
        from sfumato.evaluation.extractors.open import open_extractor
        from sfumato.evaluation.pages.evaluation import evaluation_page
        from sfumato.evaluation.real import open_real
        from sfumato.files import write_text

        model = self.load()
        request = self.request()
        extractor = open_extractor(self.extractor, str(model.device))
        real = open_real(model.spec, self.data, self.training, self.held_out)
        with staged() as progress:
            found = evaluate(
                model,
                real,
                extractor,
                self.out,
                request=request,
                n=self.n,
                seed=self.seed,
                curve=self.curve,
                bits=self.bits,
                draws=self.draws,
                batch=self.batch,
                progress=progress,
            )
        found.report.save(self.out / "report.json")
        write_text(self.out / "index.html", evaluation_page(found))
        print(found.report)
        print(f"\n{self.out / 'index.html'}: the page. {self.out / 'report.json'}: all numbers.")
