"""An evaluation: samples beside real pictures, from the first picture to the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.intervals import once_each
from sfumato.evaluation.likelihood import bits_per_dimension
from sfumato.evaluation.measures import check_draws, draws_for
from sfumato.evaluation.method import Method, Network, RealSet
from sfumato.evaluation.neighbours import nearest
from sfumato.evaluation.real import Real, sides
from sfumato.evaluation.report import Report
from sfumato.evaluation.samples import check_out
from sfumato.evaluation.search import Looked, look_for_copies
from sfumato.evaluation.told import ToldPictures
from sfumato.evaluation.work import Progress, Work, check_size
from sfumato.generation.model import Model
from sfumato.generation.request import Request

__all__ = ["Evaluation", "evaluate"]

SHOWN = 64  # pictures in a grid
ENDS = 12  # most and least usual samples
TERMS = 100  # of the bound on bits per dimension, drawn anew for every few pictures; all of them take T calls a picture


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A report, and pictures to go with it.

    Attributes:
        report: the numbers.
        samples, real: the first samples and as many reference pictures, uint8 (k, H, W, C).
        usual, unusual: samples nearest to and farthest from real pictures, in features.
        looked: for each space of `report.memorisation`.
    """

    report: Report
    samples: np.ndarray
    real: np.ndarray
    usual: np.ndarray
    unusual: np.ndarray
    looked: tuple[Looked, ...]


def evaluate(
    model: Model,
    real: Real,
    extractor: Extractor,
    out: Path,
    *,
    request: Request | None = None,
    n: int | None = None,
    seed: int = 0,
    curve: Sequence[int] = (),
    bits: int = 0,
    draws: int | None = None,
    batch: int = 64,
    progress: Progress = None,
) -> Evaluation:
    """Make samples, and measure them against real pictures.

    Args:
        model: a saved one. Labels, or prompts, are drawn as often as in its training data.
        real: the real pictures.
        extractor: what looks at pictures.
        out: folder for the samples, which an evaluation that was interrupted goes on with.
        request: how to sample; default: the model's defaults.
        n: samples, and real pictures beside them; default: half of the real ones, at most 5,000.
        seed: of the first sample; the next have seed + 1, seed + 2 …
        curve: further numbers of steps at which to measure the Fréchet distance, by as many samples each.
        bits: real pictures to count bits per dimension of; 0: none.
        draws: for each interval; default: 100, or 40 where there are more than 2,000 pictures.
        batch: pictures at once.
        progress: see `Progress`.

    Returns:
        The report, with pictures for its page.

    Raises:
        InputError: for pictures of another size, too few of them, samples made otherwise in the folder, features that
            are not finite, and whatever sampling raises.
        DivergedError: when a number stops being finite while sampling.
    """
    request = request or Request()
    chosen = sides(real.data, n)
    n = len(chosen.reference)
    check_size(model, request, real.data)
    for steps in curve:  # what would fail only after hours fails now
        model.table(replace(request, steps=steps))
    if bits:
        ToldPictures.drawn(model, real.unlearned, bits)
    draws = check_draws(draws_for(n) if draws is None else draws)
    check_out(out, "samples")
    tell = progress or (lambda stage, done, total: None)
    work = Work(model, real, chosen, extractor, out, request, seed, draws, batch, tell)
    with once_each():
        samples, made, making = work.made(request, "samples")
        target = work.features(chosen.reference, "real pictures")
        reference = RealSet.of(real.data, chosen.reference, "drawn by seed 0", real.trained)
        numbers = work.numbers(made, target, Method(making, reference, Network.of(extractor)))
        all_steps = sorted({*curve, making.steps}) if curve else []
        points = tuple(work.point(steps, target, numbers[0]) for steps in all_steps)
        losses = work.losses()
        memorisation, looked = None, ()
        if real.training is not None:
            memorisation, looked = look_for_copies(samples, made, making, real.training, real.held_out, extractor, tell)
        likelihood = None
        if bits:
            terms, told = TERMS if model.diffusion.schedule.steps > TERMS else None, partial(tell, "bits per dimension")
            likelihood = bits_per_dimension(model, real.unlearned, bits, terms=terms, seed=seed, progress=told)
        ranked = np.argsort(nearest(made, target)[1], kind="stable")
    ends = min(ENDS, n // 2)
    return Evaluation(
        report=Report(numbers, points, losses, memorisation, likelihood, (*real.notes, *work.notes())),
        samples=samples.take(np.arange(min(SHOWN, n))),
        real=real.data.images[chosen.reference[:SHOWN]],
        usual=samples.take(ranked[:ends]),
        unusual=samples.take(ranked[::-1][:ends]),
        looked=looked,
    )
