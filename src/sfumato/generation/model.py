"""`Model`: what `sfumato.load` returns. It turns seeds and labels into pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.conditioning.labels import LabelSet
from sfumato.devices import find_device
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.generation.classifier import Classifier, load_classifier
from sfumato.generation.guidance import NO_GUIDANCE, Guidance
from sfumato.generation.provenance import MARK, provenance
from sfumato.guidance.autoguidance import autoguidance
from sfumato.guidance.classifier import classifier_guidance
from sfumato.guidance.classifier_free import classifier_free
from sfumato.guidance.interval import within
from sfumato.guidance.thresholding import check_percentile, clipped, dynamically_thresholded
from sfumato.images import Images
from sfumato.models.folder import load_folder
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec
from sfumato.models.tuned import TUNED, TunedTable, load_tuned
from sfumato.networks.config import NO_LABEL
from sfumato.networks.unet import UNet
from sfumato.seeds import Stream, check_seed, noise
from sfumato.solvers import Denoiser, Step, Table, get, steps
from sfumato.solvers.spacing import given_times

__all__ = ["MARK", "Model", "Request", "load", "seeds_from"]

Label = str | Sequence[str] | None

log = logging.getLogger("sfumato")


def seeds_from(n: int, seed: int | Sequence[int]) -> list[int]:
    """The seed of every picture: seed, seed + 1, … for a number, or the given ones. So picture i of `seed=s` is the
    picture of seed s + i, alone or in any batch."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"the number of pictures is a whole number, at least 1, not {n!r}")
    if isinstance(seed, int | np.integer):
        return [check_seed(int(seed) + i) for i in range(n)]
    if len(seed) != n:
        raise InputError(f"{len(seed)} seeds for {n} pictures")
    return [check_seed(s) for s in seed]


@dataclass(frozen=True)
class Request:
    """How pictures are asked for. What is None is the model's default.

    Attributes:
        steps: solver steps.
        solver: a name from `solvers.names()`, "tuned" for a table fitted to the model, or a `Table` of one's own.
        spacing: of the steps.
        times: own times in the place of steps and spacing, strictly falling; the last is where the result lives.
        end: "data", or "sigma-min" to stop at the least noise that was trained on.
        guidance_scale: w of classifier-free guidance, or of autoguidance where there is a weaker model; 1 is none.
        size: (height, width).
        clip: keep every x̂0 within [-1, 1], the range of pictures.
        options: of the solver, such as (("eta", 0.5),).
        guidance: what else guides.
        dynamic_threshold: percentile of dynamic thresholding, such as 99.5, which then takes the place of `clip`.
    """

    steps: int | None = None
    solver: str | Table | None = None
    spacing: str | None = None
    guidance_scale: float | None = None
    size: tuple[int, int] | None = None
    clip: bool = True
    options: tuple[tuple[str, float | str], ...] = ()
    times: Sequence[float] | np.ndarray | None = None
    end: str = "data"
    guidance: Guidance = NO_GUIDANCE
    dynamic_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.times is not None:
            object.__setattr__(self, "times", tuple(given_times(self.times).tolist()))
        if self.dynamic_threshold is not None:
            check_percentile(self.dynamic_threshold)


class Model:
    """A trained model, ready to sample. Make one with `sfumato.load`.

    Attributes:
        spec: everything `model.json` says.
        network: the U-Net, in evaluation mode.
        diffusion: schedule and prediction.
        tuned: learned solver tables, by number of steps.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: UNet,
        device: torch.device | str = "cpu",
        tuned: Mapping[int, TunedTable] | None = None,
    ) -> None:
        self.spec = spec
        self.tuned = dict(tuned or {})
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.diffusion = Diffusion(spec.schedule.build(), spec.prediction)

    def table(self, request: Request) -> Table:
        """The solver's table for a request, with the model's defaults filled in."""
        if isinstance(request.solver, Table):
            own = (request.steps, request.spacing, request.times, request.options, request.end)
            if own != (None, None, None, (), "data"):
                raise InputError("a table has its own steps, spacing, times, end and options; leave them out")
            return _sampling(request.solver)
        default = self.spec.sampling
        solver = default.solver if request.solver is None else request.solver
        steps = default.steps if request.steps is None and request.times is None else request.steps
        if solver == TUNED:
            return self._tuned_table(request, steps)
        spacing = request.spacing
        if spacing is None and solver == default.solver and request.times is None:
            spacing = default.spacing
        schedule, options = self.diffusion.schedule, dict(request.options)
        return _sampling(get(solver, schedule, steps, spacing, request.times, request.end, **options))

    def _tuned_table(self, request: Request, steps: int | None) -> Table:
        if request.spacing is not None or request.times is not None or request.options or request.end != "data":
            raise InputError(
                "a tuned table has its own times and no options; leave spacing, times, end and options out"
            )
        if not isinstance(steps, int) or steps not in self.tuned:
            known = ", ".join(map(str, sorted(self.tuned))) or "no number of"
            raise InputError(
                f"model {self.spec.name!r} has tables tuned for {known} steps, not for {steps}. Choose one of them, or "
                f"fit another with: sfumato tune MODEL --steps {steps}"
            )
        return self.tuned[steps].table

    def guidance_scale(self, request: Request, rows: np.ndarray) -> float:
        """w for a request and its labels: its own, or the model's default; 1 where there is no label to be guided by.

        Raises `InputError` when guidance was asked for but there is no label, or the model cannot do without labels.
        """
        given, guidance = request.guidance_scale, request.guidance
        if guidance.weak is not None:
            if given is None:  # the model's default is of classifier-free guidance
                raise InputError("a weaker model needs a guidance_scale to go with it, such as 2")
            return float(given)
        scale = float(self.spec.sampling.guidance_scale if given is None else given)
        idle = bool(self.idle(rows, guidance).all())
        if guidance.negative is not None and given is None and scale == 1:
            raise InputError("a negative label does nothing at guidance scale 1; give a guidance_scale, such as 2")
        if scale == 1 or (idle and given is None and guidance.negative is None):
            return 1.0
        if idle and guidance.negative is None:
            raise InputError(f"guidance scale {scale:g} needs a label to be guided by; there is none")
        if idle:
            raise InputError(f"guidance scale {scale:g} needs a label other than the negative one, {guidance.negative}")
        if self.spec.labels.dropout == 0 and (self._negative(guidance) == NO_LABEL).any():
            raise InputError(
                "guidance needs a model trained with label dropout; this one was not. Use guidance_scale=1, or a "
                "negative label of every kind."
            )
        return scale

    def _negative(self, guidance: Guidance) -> np.ndarray:
        """(K,) what classifier-free guidance goes away from: the negative label, or none."""
        labels = self.spec.labels
        row = [NO_LABEL] * len(labels.kinds) if guidance.negative is None else labels.resolve(guidance.negative)
        return np.asarray(row, np.int64)

    def idle(self, rows: np.ndarray, guidance: Guidance) -> np.ndarray:
        """(N,) whether a picture has nothing to be guided by: its labels are what guidance would go away from."""
        if guidance.weak is not None:
            return np.zeros(len(rows), bool)
        return (rows[:, : len(self.spec.labels.kinds)] == self._negative(guidance)).all(1)

    @torch.no_grad()
    def denoised(self, x: Tensor, t: float, labels: Tensor) -> Tensor:
        """x̂0 of x_t (N, C, H, W) for labels (N, K), by one call of the network: no guidance, no thresholding."""
        output = self.network(self.diffusion.network_input(x, t), t, labels)
        return self.diffusion.denoised(output, x, t)

    def denoiser(
        self,
        labels: Tensor,
        guidance_scale: float = 1.0,
        clip: bool = True,
        *,
        guidance: Guidance = NO_GUIDANCE,
        dynamic_threshold: float | None = None,
    ) -> Denoiser:
        """(x_t, t) -> x̂0 for pictures with these labels (N, K), guided and held within [-1, 1] as asked for.

        From the inside out: classifier-free guidance or autoguidance, with its rescale; classifier guidance; the
        interval that holds for both; thresholding. Raises `InputError` where weaker model or classifier do not fit.
        """
        guidance.check_fits(self)
        labels = labels.to(self.device)
        rows, weak = labels[:, : len(self.spec.labels.kinds)], guidance.weak

        def plain(x: Tensor, t: float) -> Tensor:
            return self.denoised(x, t, rows)

        if weak is not None:
            guided = autoguidance(plain, lambda x, t: weak.denoised(x, t, rows), guidance_scale, guidance.rescale)
        else:
            negative = torch.from_numpy(self._negative(guidance)).to(rows).expand_as(rows)
            guided = classifier_free(self.denoised, rows, guidance_scale, negative, guidance.rescale)
        if guidance.classifier is not None:
            belief = guidance.classifier.log_probability(labels)
            guided = classifier_guidance(guided, belief, guidance.s, self.diffusion.schedule)
        if guidance.interval is not None:
            guided = within(guided, plain, *guidance.interval)
        if dynamic_threshold is not None:
            return dynamically_thresholded(guided, dynamic_threshold)
        return clipped(guided) if clip else guided

    def start(self, seeds: Sequence[int], size: tuple[int, int] | None = None, t: float = 1.0) -> Tensor:
        """The noise that these seeds start from at time t: (N, C, H, W) on the model's device."""
        height, width = size or self.spec.size
        self.network.config.check_size(height, width)
        shape = (self.network.config.in_channels, height, width)
        return noise(seeds, shape, Stream.START).to(self.device) * self.diffusion.schedule.prior_scale(t)

    def label_set(self, guidance: Guidance = NO_GUIDANCE) -> LabelSet:
        """What can be asked for: the model's labels, or, where it has none, those of the classifier that guides it."""
        own = self.spec.labels
        return own if own.kinds or guidance.classifier is None else guidance.classifier.spec.labels

    def label_rows(
        self, label: Label | np.ndarray, seeds: Sequence[int], guidance: Guidance = NO_GUIDANCE
    ) -> np.ndarray:
        """(N, K) label indices: of a name; drawn as in the training data for None; or checked as given.

        Raises `InputError` for a label that is not there, or that the classifier cannot guide towards.
        """
        guidance.check_fits(self)
        labels = self.label_set(guidance)
        rows = labels.check(label, len(seeds)) if isinstance(label, np.ndarray) else labels.rows(label, seeds)
        guidance.check_labels(rows)
        return rows

    def trajectory(
        self, seeds: Sequence[int], label: Label | np.ndarray = None, request: Request | None = None
    ) -> Iterator[Step]:
        """Every step of sampling a batch, x in the network's range [-1, 1]."""
        request = request or Request()
        rows = self.label_rows(label, seeds, request.guidance)
        yield from self._walk(seeds, rows, request, self.guidance_scale(request, rows))

    def _note_scale(self, request: Request, scale: float) -> None:
        """Say it when a tuned table is used at another guidance scale than it was fitted for."""
        table = self.table(request)
        fitted = next((tuned.guidance_scale for tuned in self.tuned.values() if tuned.table is table), scale)
        if fitted != scale:
            log.warning(
                "the table tuned for %d steps was fitted at guidance scale %g, not %g: expect less of it",
                table.steps,
                fitted,
                scale,
            )

    def _walk(self, seeds: Sequence[int], rows: np.ndarray, request: Request, scale: float) -> Iterator[Step]:
        table, labels = self.table(request), torch.from_numpy(rows)
        denoise = self.denoiser(
            labels, scale, request.clip, guidance=request.guidance, dynamic_threshold=request.dynamic_threshold
        )
        yield from steps(denoise, self.start(seeds, request.size, float(table.times[0])), table, seeds)

    def sample(
        self,
        n: int = 1,
        *,
        seed: int | Sequence[int] = 0,
        label: Label | np.ndarray = None,
        steps: int | None = None,
        solver: str | Table | None = None,
        spacing: str | None = None,
        times: Sequence[float] | np.ndarray | None = None,
        end: str = "data",
        guidance_scale: float | None = None,
        size: tuple[int, int] | None = None,
        clip: bool = True,
        negative: str | Sequence[str] | None = None,
        guidance_interval: tuple[float, float] | None = None,
        guidance_rescale: float = 0.0,
        weak: Model | str | Path | None = None,
        classifier: Classifier | str | Path | None = None,
        classifier_scale: float | None = None,
        dynamic_threshold: float | None = None,
        batch: int = 64,
        **options: float | str,
    ) -> Images:
        """Make pictures.

        Args:
            n: how many.
            seed: of the first one; the next have seed + 1, seed + 2 … Or a list with a seed for each.
            label: names such as "food" or "food, noto"; "none" for no condition; None draws for each picture labels as
                they occur in the training data. Or (n, K) indices.
            steps, solver, spacing, times, end, guidance_scale, size, clip, dynamic_threshold, options: see `Request`;
                None is the model's default.
            negative, guidance_interval, guidance_rescale, weak, classifier, classifier_scale: see `Guidance`; a weaker
                model and a classifier are loaded ones, or where they are.
            batch: pictures at once. It changes no picture by more than one level of 255.

        Returns:
            `Images`, uint8 (n, H, W, C), each with the metadata that its PNG file will carry.

        Raises:
            InputError: for an unknown label, solver, spacing or option, sizes that do not fit, seeds out of range, a
                weaker model or classifier that does not fit.
            DivergedError: when a number stops being finite.
        """
        if isinstance(weak, str | Path):
            weak = load(weak, str(self.device))
        if isinstance(classifier, str | Path):
            classifier = load_classifier(classifier, str(self.device))
        guidance = Guidance(negative, guidance_interval, guidance_rescale, weak, classifier, classifier_scale)
        request = Request(
            steps,
            solver,
            spacing,
            guidance_scale,
            size,
            clip,
            options=tuple(options.items()),
            times=times,
            end=end,
            guidance=guidance,
            dynamic_threshold=dynamic_threshold,
        )
        return self.make(request, n, seed=seed, label=label, batch=batch)

    def make(
        self,
        request: Request,
        n: int,
        *,
        seed: int | Sequence[int] = 0,
        label: Label | np.ndarray = None,
        batch: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> Images:
        """`sample` for a `Request`. `progress` is called with the number of pictures done after each batch."""
        if batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        seeds = seeds_from(n, seed)
        rows = self.label_rows(label, seeds, request.guidance)
        scale = self.guidance_scale(request, rows)  # of all pictures together: how they are batched changes nothing
        self._note_scale(request, scale)
        parts = []
        for first in range(0, n, batch):
            part = slice(first, first + batch)
            *_, last = self._walk(seeds[part], rows[part], request, scale)
            parts.append(to_uint8(last.x))
            if progress:
                progress(min(first + batch, n))
        return Images(np.concatenate(parts), provenance(self, request, seeds, rows, scale))


def _sampling(table: Table) -> Table:
    """The table, if it leads from noise to data."""
    if table.times[0] <= table.times[-1]:
        raise InputError(f"table {table.name!r} leads from data to noise; sampling goes the other way")
    return table


def to_uint8(x: Tensor) -> np.ndarray:
    """(N, C, H, W) in [-1, 1] -> uint8 (N, H, W, C), rounded to the nearest level."""
    return x.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()


def load(source: str | Path, device: str = "cpu") -> Model:
    """Load a model.

    Args:
        source: the name of a shipped model ("emoji"), a model folder, or the folder of a run (its "model" is taken).
        device: "cpu", "cuda" …, or "auto".

    Raises:
        InputError: when there is no such model or it cannot be understood; it says which file and why.
    """
    folder = find_folder(source)
    spec, network = load_folder(folder)
    assert spec.weights is not None  # it was loaded
    return Model(spec, network, find_device(device), load_tuned(folder, spec.weights.sha256))
