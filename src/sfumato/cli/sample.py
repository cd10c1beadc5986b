"""`sfumato sample`: pictures from a model, as PNG files and a grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.generation.model import Request

__all__ = ["Sample", "option_value", "options_from", "request_from", "size_from"]


@dataclass(frozen=True)
class Sample:
    """Make pictures with a model: 0000.png, 0001.png … and grid.png."""

    model: Positional[str]
    """a shipped name (emoji), a model folder, or the folder of a run"""
    n: int = 16
    """how many pictures"""
    steps: int | None = None
    """solver steps; default: the model's"""
    solver: str | None = None
    """a name from `sfumato solvers`, or tuned, for a table fitted to this model; default: the model's"""
    spacing: str | None = None
    """where the steps lie: trailing, leading, linspace, quadratic, log-snr, karras, visible"""
    times: tuple[float, ...] = ()
    """own times instead of steps and spacing, falling from 1 (noise) to 0 (data): 1 .9 .7 .4 0"""
    end: str = "data"
    """data, or sigma-min to stop at the least noise that was trained on"""
    seed: int = 0
    """of the first picture; the next have seed + 1, seed + 2 …"""
    label: tuple[str, ...] = ()
    """names such as food noto, or none; not given: labels drawn as often as in the training data"""
    prompt: tuple[str, ...] = ()
    """for a model that reads texts, what to see; of several, the pictures take one after the other"""
    guidance_scale: Annotated[float | None, tyro.conf.arg(aliases=["--guidance"])] = None
    """w of classifier-free guidance, or of autoguidance with --weak; 1 is none"""
    negative: tuple[str, ...] = ()
    """labels or a prompt to go away from, instead of from none"""
    guidance_interval: tuple[float, float] | None = None
    """guidance only between these times, 0 being data and 1 noise, such as 0.2 0.8"""
    guidance_rescale: float = 0.0
    """contrast of the guided picture: 0 as it comes, 1 as without guidance"""
    weak: str | None = None
    """a weaker model of the same data to go away from (autoguidance)"""
    classifier: Path | None = None
    """folder of a classifier from train-classifier, to follow towards the label"""
    classifier_scale: float | None = None
    """strength of the classifier; default: 1"""
    dynamic_threshold: float | None = None
    """percentile of dynamic thresholding, such as 99.5; default: values of pixels are cut at -1 and 1"""
    size: str | None = None
    """WIDTHxHEIGHT such as 512x768, or one side; default: as trained"""
    option: tuple[str, ...] = ()
    """options of the solver, such as eta=0.5 or variance=large"""
    out: Path = Path("samples")
    """folder for the pictures"""
    batch: int = 64
    """pictures at once; does not change them"""
    device: str = "cpu"
    """cpu, cuda …, or auto"""
    dtype: str = "float32"
    """number type of the weights: float32, or float16 or bfloat16 for half the memory"""
    offload: Literal["cpu", "disk"] | None = None
    """text encoder, U-Net and autoencoder take turns on the device; the others wait in main memory, or on disk"""
    most_scores: int | None = None
    """bound on the scores of attention at once, such as 16000000; helps where it has no fused kernel"""
    one_at_a_time: bool = False
    """guidance by two calls of the network, not one of twice the size"""
    show_table: bool = False
    """print the solver's table: the exact times it visits and its weights"""
    steps_strip: bool = False
    """also write steps.png: noise becoming picture, a row for each of the first pictures"""

    def run(self) -> None:
        """Sample, save, and say how it was done."""
        import time
        from dataclasses import replace

        from sfumato.files import check_writable
        from sfumato.generation.classifier import load_classifier
        from sfumato.generation.guidance import Guidance
        from sfumato.generation.model import MARK, load, seeds_from
        from sfumato.generation.strip import steps_strip
        from sfumato.images import save_png

        saved = (self.dtype, self.offload, self.most_scores)
        model = load(self.model, self.device, *saved)
        guidance = Guidance(
            negative=self.negative or None,
            interval=self.guidance_interval,
            rescale=self.guidance_rescale,
            weak=load(self.weak, self.device, *saved) if self.weak is not None else None,
            classifier=load_classifier(self.classifier, self.device) if self.classifier is not None else None,
            classifier_scale=self.classifier_scale,
            together=not self.one_at_a_time,
        )
        request = replace(
            request_from(self.steps, self.solver, self.spacing, self.guidance_scale, size_from(self.size), self.option),
            times=self.times or None,
            end=self.end,
            guidance=guidance,
            dynamic_threshold=self.dynamic_threshold,
        )
        table = model.table(request)  # a mistake in the options shows before anything is written
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


def request_from(
    steps: int | None,
    solver: str | None,
    spacing: str | None,
    guidance_scale: float | None,
    size: tuple[int, int] | None,
    option: tuple[str, ...],
) -> Request:
    """A `Request` from what stands on the command line."""
    from sfumato.generation.model import Request

    return Request(steps, solver, spacing, guidance_scale, size, options=tuple(options_from(option).items()))


def size_from(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """(height, width) of WIDTHxHEIGHT, or of one number for both. `option` is where it stands."""
    if text is None:
        return None
    words = text.lower().replace("×", "x").split("x")
    if len(words) > 2 or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise InputError(f"{option} {text!r}: write WIDTHxHEIGHT, such as 512x768, or one side, such as 512")
    return int(words[-1]), int(words[0])


def options_from(words: tuple[str, ...]) -> dict[str, int | float | str]:
    """Options of a solver from words such as eta=0.5."""
    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--option {word!r}: write name=value, such as eta=0.5")
        if key in ("name", "schedule", "steps", "spacing", "times", "end"):
            raise InputError(f"--option {word!r}: {key} is no option of a solver")
        if key in options:
            raise InputError(f"--option {word!r}: {key} is given twice")
        options[key] = option_value(value)
    return options


def option_value(text: str) -> int | float | str:
    """A number, or true or false, where it is one."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
