"""`Model`: what `sfumato.load` returns. It turns seeds, labels and prompts into pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.conditioning.labels import LabelSet
from sfumato.conditioning.reader import open_reader
from sfumato.conditioning.text import Reader, weighted
from sfumato.devices import find_device, find_dtype
from sfumato.diffusion.process import Diffusion
from sfumato.errors import DivergedError, InputError
from sfumato.generation.asked import Asked, one_each
from sfumato.generation.classifier import Classifier, load_classifier
from sfumato.generation.guidance import NO_GUIDANCE, Guidance
from sfumato.generation.provenance import MARK, provenance
from sfumato.guidance.autoguidance import autoguidance
from sfumato.guidance.classifier import classifier_guidance
from sfumato.guidance.classifier_free import classifier_free
from sfumato.guidance.interval import within
from sfumato.guidance.thresholding import check_percentile, clipped, dynamically_thresholded
from sfumato.images import Images
from sfumato.models.folder import open_folder
from sfumato.models.parts import read_autoencoder
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec
from sfumato.models.tuned import TUNED, TunedTable, load_tuned
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.condition import Condition
from sfumato.networks.config import NO_LABEL
from sfumato.networks.memory import bounded
from sfumato.networks.tiling import decode_tiled, encode_tiled
from sfumato.networks.turns import Offload, Turns
from sfumato.networks.unet import UNet
from sfumato.scaling import to_uint8, to_unit
from sfumato.seeds import Stream, check_seed, noise
from sfumato.solvers import Denoiser, Step, Table, get, steps
from sfumato.solvers.spacing import given_times

__all__ = ["MARK", "Model", "Request", "load", "seeds_from"]

Label = str | Sequence[str] | None
Prompt = str | Sequence[str] | None

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
        clip: keep every x̂0 within [-1, 1], the range of pictures; default: where pixels are diffused.
        options: of the solver, such as (("eta", 0.5),).
        guidance: what else guides.
        dynamic_threshold: percentile of dynamic thresholding, such as 99.5, which then takes the place of `clip`.
    """

    steps: int | None = None
    solver: str | Table | None = None
    spacing: str | None = None
    guidance_scale: float | None = None
    size: tuple[int, int] | None = None
    clip: bool | None = None
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
        network: the U-Net, in evaluation mode. With offloading, asking for it makes it the one on the device.
        diffusion: schedule and prediction.
        tuned: learned solver tables, by number of steps.
        reader: what reads prompts.
        autoencoder: between pictures and the latents that are diffused; none: pixels are. As `network`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: UNet | Callable[[], UNet],
        device: torch.device | str | Turns = "cpu",
        tuned: Mapping[int, TunedTable] | None = None,
        reader: Reader | None = None,
        autoencoder: Autoencoder | Callable[[], Autoencoder] | None = None,
    ) -> None:
        turns = Turns.of(device)
        self.spec = spec
        self.reader = reader or (open_reader(spec.text, device=turns) if spec.text else None)
        self.tuned = dict(tuned or {})
        self.device = turns.device
        self._network = turns.add(network)
        self._autoencoder = None if autoencoder is None else turns.add(autoencoder)
        self.diffusion = Diffusion(spec.schedule.build(), spec.prediction)

    @property
    def network(self) -> UNet:
        return self._network()

    @property
    def autoencoder(self) -> Autoencoder | None:
        return None if self._autoencoder is None else self._autoencoder()

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

    def ask(
        self,
        seeds: Sequence[int],
        label: Label | np.ndarray = None,
        prompt: Prompt = None,
        guidance: Guidance = NO_GUIDANCE,
    ) -> Asked:
        """What is asked for, a picture for each seed; what is not given is drawn as in the training data.

        Raises `InputError` for a label that is not there or that the classifier cannot guide towards, for a label where
        texts are read, and for a prompt where they are not.
        """
        guidance.check_fits(self)
        labels, text = self.label_set(guidance), self.spec.text
        if text is None and prompt is not None:
            what = f"labels: {', '.join(labels.kinds)}" if labels.kinds else "no condition"
            raise InputError(f"model {self.spec.name!r} reads no prompts; it was trained with {what}")
        if text is not None and label is not None and not labels.kinds:
            raise InputError(f"model {self.spec.name!r} has no labels; say it in a prompt")
        rows = labels.check(label, len(seeds)) if isinstance(label, np.ndarray) else labels.rows(label, seeds)
        guidance.check_labels(rows)
        if text is None:
            return Asked(rows)
        return Asked(rows, text.drawn(seeds) if prompt is None else one_each(prompt, len(seeds)))

    def guidance_scale(self, request: Request, asked: Asked) -> float:
        """w for a request and what is asked for: its own, or the model's default; 1 where nothing is to be guided by.

        Raises `InputError` when guidance was asked for but there is nothing to be guided by, or the model cannot do
        without a label or a text.
        """
        given, guidance = request.guidance_scale, request.guidance
        if guidance.weak is not None:
            if given is None:  # the model's default is of classifier-free guidance
                raise InputError("a weaker model needs a guidance_scale to go with it, such as 2")
            return float(given)
        scale = float(self.spec.sampling.guidance_scale if given is None else given)
        idle = bool(self.idle(asked, guidance).all())
        what = "label" if self.spec.text is None else "prompt"
        if guidance.negative is not None and given is None and scale == 1:
            raise InputError(f"a negative {what} does nothing at guidance scale 1; give a guidance_scale, such as 2")
        if scale == 1 or (idle and given is None and guidance.negative is None):
            return 1.0
        if idle and guidance.negative is None:
            raise InputError(f"guidance scale {scale:g} needs a {what} to be guided by; there is none")
        if idle:
            raise InputError(
                f"guidance scale {scale:g} needs a {what} other than the negative one, {guidance.negative}"
            )
        away = self._negative(asked, guidance)
        empty = bool((away.rows == NO_LABEL).any()) or "" in away.texts
        dropout = self.spec.labels.dropout if self.spec.text is None else self.spec.text.dropout
        if dropout == 0 and empty:
            raise InputError(
                f"guidance needs a model trained with {what} dropout; this one was not. Use guidance_scale=1, or a "
                f"negative {what}{'' if self.spec.text else ' of every kind'}."
            )
        return scale

    def _negative(self, asked: Asked, guidance: Guidance) -> Asked:
        """What classifier-free guidance goes away from: the negative label or prompt, or none."""
        if self.spec.text is not None:
            text = guidance.negative or ""
            text = (text if isinstance(text, str) else ", ".join(text)).strip()
            return replace(asked, texts=(text,) * len(asked))
        labels = self.spec.labels
        row = [NO_LABEL] * len(labels.kinds) if guidance.negative is None else labels.resolve(guidance.negative)
        return replace(asked, rows=np.tile(np.asarray(row, np.int64), (len(asked), 1)))

    def idle(self, asked: Asked, guidance: Guidance) -> np.ndarray:
        """(N,) whether a picture has nothing to be guided by: what it is asked for is what guidance goes away from."""
        if guidance.weak is not None:
            return np.zeros(len(asked), bool)
        away = self._negative(asked, guidance)
        if self.spec.text is not None:
            return np.array(
                [text.strip() == other.strip() for text, other in zip(asked.texts, away.texts, strict=True)]
            )
        return (asked.rows[:, : len(self.spec.labels.kinds)] == away.rows).all(1)

    @torch.no_grad()
    def condition(self, asked: Asked, tell: bool = False) -> Condition:
        """What the network is told. `tell`: log what of a prompt was not understood or cut."""
        pictures = None if asked.pictures is None else asked.pictures.to(self.device)
        if self.reader is None:
            rows = torch.from_numpy(np.ascontiguousarray(asked.rows[:, : len(self.spec.labels.kinds)]))
            return Condition(labels=rows.to(self.device), pictures=pictures)
        unique = list(dict.fromkeys(["", *asked.texts]))  # each text is read once; the empty one for the weights
        reading = self.reader.read(unique)
        if tell:
            for text, notes in zip(unique, reading.notes, strict=True):
                for note in notes:
                    log.warning("prompt %r: %s", text if len(text) < 60 else f"{text[:57]}…", note)
        told = reading.condition.to(self.device)
        context = told if told.words is None else Condition.of_context(self.network.read(told.words))
        context = weighted(context, reading.weights.to(self.device))
        index = torch.tensor([unique.index(text) for text in asked.texts], device=self.device)
        return replace(context[index], pictures=pictures)

    @torch.no_grad()
    def denoised(self, x: Tensor, t: float, condition: Condition | Tensor) -> Tensor:
        """x̂0 of x_t (N, C, H, W), by one call of the network: no guidance, no thresholding. A tensor is labels."""
        output = self.network(self.diffusion.network_input(x, t), t, condition)
        return self.diffusion.denoised(output[:, : x.shape[1]], x, t)  # what is further there is a learned variance

    def denoiser(
        self,
        asked: Asked | Tensor,
        guidance_scale: float = 1.0,
        clip: bool | None = None,
        *,
        guidance: Guidance = NO_GUIDANCE,
        dynamic_threshold: float | None = None,
        condition: Condition | None = None,
    ) -> Denoiser:
        """(x_t, t) -> x̂0 for what is asked for, guided and held within [-1, 1] as asked for. A tensor is labels (N, K).

        From the inside out: classifier-free guidance or autoguidance, with its rescale; classifier guidance; the
        interval that holds for both; thresholding. Raises `InputError` where weaker model or classifier do not fit.
        A `condition` is told to the network in the place of what follows from `asked`.
        """
        guidance.check_fits(self)
        asked, weak = Asked.of(asked), guidance.weak
        config = self.spec.network
        if condition is None and asked.pictures is None and config.in_channels > config.output_channels:
            raise InputError(f"model {self.spec.name!r} fills in parts of pictures: sfumato inpaint")
        condition = self.condition(asked, tell=True) if condition is None else condition

        def plain(x: Tensor, t: float) -> Tensor:
            return self.denoised(x, t, condition)

        if weak is not None:
            told = weak.condition(asked)
            guided = autoguidance(plain, lambda x, t: weak.denoised(x, t, told), guidance_scale, guidance.rescale)
        else:
            negative = self.condition(self._negative(asked, guidance))
            guided = classifier_free(
                self.denoised, condition, negative, guidance_scale, guidance.rescale, guidance.together
            )
        if guidance.classifier is not None:
            belief = guidance.classifier.log_probability(torch.from_numpy(asked.rows).to(self.device))
            guided = classifier_guidance(guided, belief, guidance.s, self.diffusion.schedule)
        if guidance.interval is not None:
            guided = within(guided, plain, *guidance.interval)
        if dynamic_threshold is not None:
            return dynamically_thresholded(guided, dynamic_threshold)
        clip = self._autoencoder is None if clip is None else clip
        return clipped(guided) if clip else guided

    def start(self, seeds: Sequence[int], size: tuple[int, int] | None = None, t: float = 1.0) -> Tensor:
        """The noise that these seeds start from at time t, for pictures of this size: (N, C, H, W) on the device."""
        shape = self.spec.shape(size)
        return noise(seeds, shape, Stream.START).to(self.device) * self.diffusion.schedule.prior_scale(t)

    @torch.no_grad()
    def encoded(self, pictures: np.ndarray) -> Tensor:
        """What is diffused, (N, C, H, W), of pictures uint8 (N, H, W, C): in [-1, 1], or the modes of their latents.

        Raises `InputError` for pictures of another kind, with other channels, or of a size that does not fit.
        """
        array, channels = np.asarray(pictures), self.spec.channels
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != channels or not len(array):
            raise InputError(f"pictures must be uint8 (N, H, W, {channels}), not {array.dtype} {array.shape}")
        self.spec.shape((array.shape[1], array.shape[2]))
        x = to_unit(array).to(self.device)
        network = self.autoencoder
        if network is None:
            return x
        return torch.cat([network.to_latents(encode_tiled(network, one).mode) for one in x.split(1)])

    @torch.no_grad()
    def pictures(self, x: Tensor) -> np.ndarray:
        """Pictures uint8 (N, H, W, C) of what was diffused (N, C, H, W). The inverse of `encoded`.

        Raises `DivergedError` when the autoencoder puts out what is not finite.
        """
        network = self.autoencoder
        if network is not None:
            x = torch.cat([decode_tiled(network, network.from_latents(one)) for one in x.split(1)])
            if not x.isfinite().all():
                raise DivergedError(
                    "the autoencoder's pictures are NaN or infinite: check its weights and its number type (float16 "
                    "ends at 65504; bfloat16 and float32 do not)"
                )
        return to_uint8(x)

    def label_set(self, guidance: Guidance = NO_GUIDANCE) -> LabelSet:
        """What can be asked for: the model's labels, or, where it has none, those of the classifier that guides it."""
        own = self.spec.labels
        return own if own.kinds or guidance.classifier is None else guidance.classifier.spec.labels

    def trajectory(
        self,
        seeds: Sequence[int],
        label: Label | np.ndarray = None,
        request: Request | None = None,
        prompt: Prompt = None,
    ) -> Iterator[Step]:
        """Every step of sampling a batch, x in the network's range."""
        request = request or Request()
        asked = self.ask(seeds, label, prompt, request.guidance)
        yield from self._walk(seeds, asked, request, self.guidance_scale(request, asked))

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

    def _walk(self, seeds: Sequence[int], asked: Asked, request: Request, scale: float) -> Iterator[Step]:
        table = self.table(request)
        denoise = self.denoiser(
            asked, scale, request.clip, guidance=request.guidance, dynamic_threshold=request.dynamic_threshold
        )
        yield from steps(denoise, self.start(seeds, request.size, float(table.times[0])), table, seeds)

    def sample(
        self,
        n: int | None = None,
        *,
        seed: int | Sequence[int] = 0,
        label: Label | np.ndarray = None,
        prompt: Prompt = None,
        steps: int | None = None,
        solver: str | Table | None = None,
        spacing: str | None = None,
        times: Sequence[float] | np.ndarray | None = None,
        end: str = "data",
        guidance_scale: float | None = None,
        size: tuple[int, int] | None = None,
        clip: bool | None = None,
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
            n: how many; default: as many as there are prompts, else one.
            seed: of the first one; the next have seed + 1, seed + 2 … Or a list with a seed for each.
            label: names such as "food" or "food, noto"; "none" for no condition; None draws for each picture labels as
                they occur in the training data. Or (n, K) indices.
            prompt: for a model that reads texts: one for all pictures, or a list with one for each; "" for none; None
                draws captions of the training data. (word:1.3) makes a word count more.
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
        if n is None:
            n = len(prompt) if isinstance(prompt, list | tuple) else 1
        return self.make(request, n, seed=seed, label=label, prompt=prompt, batch=batch)

    def make(
        self,
        request: Request,
        n: int,
        *,
        seed: int | Sequence[int] = 0,
        label: Label | np.ndarray = None,
        prompt: Prompt = None,
        batch: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> Images:
        """`sample` for a `Request`. `progress` is called with the number of pictures done after each batch."""
        if batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        seeds = seeds_from(n, seed)
        asked = self.ask(seeds, label, prompt, request.guidance)
        scale = self.guidance_scale(request, asked)  # of all pictures together: how they are batched changes nothing
        self._note_scale(request, scale)
        parts = []
        for first in range(0, n, batch):
            part = slice(first, first + batch)
            *_, last = self._walk(seeds[part], asked[part], request, scale)
            parts.append(self.pictures(last.x))
            if progress:
                progress(min(first + batch, n))
        return Images(np.concatenate(parts), provenance(self, request, seeds, asked, scale))


def _sampling(table: Table) -> Table:
    """The table, if it leads from noise to data."""
    if table.times[0] <= table.times[-1]:
        raise InputError(f"table {table.name!r} leads from data to noise; sampling goes the other way")
    return table


def load(
    source: str | Path,
    device: str = "cpu",
    dtype: str = "float32",
    offload: Offload | None = None,
    most_scores: int | None = None,
) -> Model:
    """Load a model.

    Args:
        source: the name of a shipped model ("emoji"), a model folder, the folder of a run (its "model" is taken), or
            an id on the Hugging Face hub, owner/name.
        device: "cpu", "cuda" …, or "auto".
        dtype: number type of the weights, in which the networks work: "float32", "float16" or "bfloat16". What is
            diffused is float32 in any case.
        offload: "cpu": text encoder, U-Net and autoencoder are on the device only for their turns. "disk": and in
            memory at all; each is read from its file for its turn. Pictures stay the same.
        most_scores: of the attentions of U-Net and autoencoder, see `networks.memory.bound_attention`.

    Raises:
        InputError: when there is no such model or it cannot be understood; it says which file and why.
    """
    folder = find_folder(source)
    number_type, turns = find_dtype(dtype), Turns(find_device(device), offload)
    spec, network = open_folder(folder, number_type)
    assert spec.weights is not None  # it was opened
    reader = open_reader(spec.text, folder, turns, number_type) if spec.text else None
    tuned = load_tuned(folder, spec.weights.sha256)
    decoder = partial(read_autoencoder, folder, spec.autoencoder, number_type) if spec.autoencoder else None
    return Model(
        spec,
        partial(bounded, network, most_scores),
        turns,
        tuned,
        reader,
        decoder and partial(bounded, decoder, most_scores),
    )
