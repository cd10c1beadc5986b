"""`sfumato likelihood`: bits per dimension, and what can be seen after so many of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from sfumato.data.dataset import Dataset
    from sfumato.generation.model import Model

__all__ = ["Likelihood"]


@dataclass(frozen=True)
class Likelihood:
    """Measure how many bits per dimension pictures cost under a model: the variational bound, or its flow's likelihood.

    For models of pixels. Take pictures that training never saw, such as fashion-mnist/test.
    """

    model: Positional[str]
    """a shipped name (emoji), a model folder, or the folder of a run"""
    data: str
    """the pictures: a name, a packed file or a folder"""
    n: int = 256
    """how many of them"""
    method: Literal["bound", "flow"] = "bound"
    """the variational bound of the ancestral sampler, or the likelihood of the probability-flow ODE"""
    steps: int | None = None
    """of the sampler (default: all that the schedule has), or of the flow's solver (default: 50)"""
    terms: int | None = None
    """of the bound, drawn at random, such as 100; default: all"""
    variance: Literal["small", "large", "learned"] | None = None
    """of the bound's reverse steps; default: what the model has learned, or else small"""
    decoder: Literal["erf", "tanh"] = "erf"
    """of the bound's last step: exact, or as Ho et al. counted"""
    probes: int = 1
    """of the flow's divergence"""
    progressive: Path | None = None
    """instead, write the rate-distortion curve and pictures of the reconstructions into this folder"""
    seed: int = 0
    """decides which pictures, and all that is random"""
    out: Path | None = None
    """also write the result as JSON"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""

    def run(self) -> None:
        """Measure, print, write."""
        from sfumato.cli.progress import counted
        from sfumato.data.sources import open_data
        from sfumato.errors import InputError
        from sfumato.evaluation.likelihood import bits_per_dimension
        from sfumato.files import check_writable, write_text
        from sfumato.generation.model import load

        if self.progressive is not None and (self.method, self.terms, self.variance, self.decoder, self.out) != (
            "bound",
            None,
            None,
            "erf",
            None,
        ):
            raise InputError(
                "--progressive takes every term of the bound, and writes files of its own: leave out "
                "--method, --terms, --variance, --decoder and --out"
            )
        for folder in filter(None, [self.progressive, self.out and self.out.parent]):
            check_writable(folder, need_bytes=0)
        model = load(self.model, self.device)
        mode = {1: "L", 3: "RGB"}.get(model.spec.channels)
        data = open_data(self.data, size=model.spec.size, mode=mode)
        if self.progressive is not None:
            self._progressive(model, data, self.progressive)
            return
        with counted("network calls") as tell:
            found = bits_per_dimension(
                model,
                data,
                self.n,
                method=self.method,
                steps=self.steps,
                terms=self.terms,
                variance=self.variance,
                decoder=self.decoder,
                probes=self.probes,
                seed=self.seed,
                progress=tell,
            )
        print(found)
        if self.out is not None:
            write_text(self.out, found.to_json() + "\n")

    def _progressive(self, model: Model, data: Dataset, folder: Path) -> None:
        from sfumato.cli.progress import counted
        from sfumato.evaluation.progressive import progressive_coding
        from sfumato.evaluation.progressive_plot import draw_curves, draw_pictures, need_matplotlib
        from sfumato.files import write_text

        need_matplotlib()
        with counted("network calls") as tell:
            found = progressive_coding(model, data, self.n, steps=self.steps, seed=self.seed, progress=tell)
        print(found)
        write_text(folder / "progressive.json", found.to_json() + "\n")
        draw_curves(found, folder / "rate-distortion.svg")
        draw_pictures(found, folder / "progressive.png")
        print(f"{folder}: progressive.json, rate-distortion.svg, progressive.png")
