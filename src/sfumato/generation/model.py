"""`Model`: what `sfumato.load` returns. It turns seeds, labels and prompts into pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.conditioning.reader import open_reader
from sfumato.conditioning.text import Reader, weighted
from sfumato.devices import find_device, find_dtype
from sfumato.diffusion.process import Diffusion
from sfumato.errors import DivergedError, InputError
from sfumato.generation.asked import Asked
from sfumato.generation.asking import ask, away, guidance_scale
from sfumato.generation.classifier import Classifier, load_classifier
from sfumato.generation.guidance import NO_GUIDANCE, Guidance
from sfumato.generation.order import Order
from sfumato.generation.request import Label, Prompt, Request
from sfumato.generation.self_conditioning import remembering
from sfumato.generation.tables import note_scale, table_for
from sfumato.guidance.autoguidance import autoguidance
from sfumato.guidance.classifier import classifier_guidance
from sfumato.guidance.classifier_free import classifier_free
from sfumato.guidance.interval import within
from sfumato.guidance.thresholding import clipped, dynamically_thresholded
from sfumato.images import Images
from sfumato.models.folder import open_folder
from sfumato.models.parts import read_autoencoder
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec
from sfumato.models.tuned import TunedTable, load_tuned
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.condition import Condition
from sfumato.networks.memory import bounded
from sfumato.networks.replay import Replay
from sfumato.networks.tiling import decode_tiled, encode_tiled
from sfumato.networks.turns import Offload, Turns
from sfumato.networks.unet import UNet
from sfumato.scaling import to_uint8, to_unit
from sfumato.seeds import Stream, noise
from sfumato.solvers import Denoiser, Step, Table, steps

__all__ = ["Model", "load"]

log = logging.getLogger("sfumato")

LEAST_REPLAYED = 4  # calls: two make a recording


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
        self._stays = turns.offload is None
        self._network = turns.add(network)
        self._autoencoder = None if autoencoder is None else turns.add(autoencoder)
        self.diffusion = Diffusion(spec.schedule.build(), spec.prediction, spec.sigma_data)

    @property
    def network(self) -> UNet:
        return self._network()

    @property
    def autoencoder(self) -> Autoencoder | None:
        return None if self._autoencoder is None else self._autoencoder()

    def table(self, request: Request) -> Table:
        """The solver's table for a request, see `tables.table_for`."""
        return table_for(request, self.spec, self.diffusion.schedule, self.tuned)

    def ask(
        self,
        seeds: Sequence[int],
        label: Label | np.ndarray = None,
        prompt: Prompt = None,
        guidance: Guidance = NO_GUIDANCE,
    ) -> Asked:
        """What is asked for, a picture for each seed, see `asking.ask`. Raises `InputError` too where weaker model or
        classifier do not fit."""
        guidance.check_fits(self)
        return ask(self.spec, seeds, label, prompt, guidance)

    def guidance_scale(self, request: Request, asked: Asked) -> float:
        """w for a request and what is asked for, see `asking.guidance_scale`."""
        return guidance_scale(self.spec, request, asked)

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

    def denoised(self, x: Tensor, t: float, condition: Condition | Tensor) -> Tensor:
        """x̂0 of x_t (N, C, H, W), by one call of the network: no guidance, no thresholding. A tensor is labels.

        Differentiable in x where x asks for its gradient.
        """
        return self.predicted(x, t, Condition.of(condition))[0]

    def predicted(
        self, x: Tensor, t: float, condition: Condition, replay: Replay | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `denoised`, and what further channels (N, C', H, W) say of the variance (`diffusion.learned`), if any.

        A network with self-conditioning whose condition holds no pictures sees zeros, as at the first step. `replay`
        makes the call, if given.
        """
        if self.spec.self_conditioning and condition.pictures is None:
            condition = replace(condition, pictures=torch.zeros_like(x))
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            scaled, time = self.diffusion.network_input(x, t), self.diffusion.network_time(t)
            if replay is None or isinstance(time, Tensor):
                output = self.network(scaled, time, condition)
            else:
                output = replay(self.network, scaled, time, condition)
            return self.diffusion.denoised(output[:, : x.shape[1]], x, t), output[:, x.shape[1] :]

    def denoiser(
        self,
        asked: Asked | Tensor,
        guidance_scale: float = 1.0,
        clip: bool | None = None,
        *,
        guidance: Guidance = NO_GUIDANCE,
        dynamic_threshold: float | None = None,
        condition: Condition | None = None,
        calls: int = 0,
        hear: Callable[[Tensor], None] | None = None,
    ) -> Denoiser:
        """(x_t, t) -> x̂0 for what is asked for, guided and held within [-1, 1] as asked for. A tensor is labels (N, K).

        From the inside out: classifier-free guidance or autoguidance, with its rescale; classifier guidance; the
        interval that holds for both; thresholding. Raises `InputError` where weaker model or classifier do not fit.
        A `condition` is told to the network in the place of what follows from `asked`. `hear` is given what further
        channels say at each call. `calls`: of a run of the table that this is for, in which nobody changes
        the network, and one with self-conditioning sees its last x̂0; 0: it always sees zeros: a function.
        """
        guidance.check_fits(self)
        asked, weak = Asked.of(asked), guidance.weak
        if condition is None and asked.pictures is None and self.spec.fills_in:
            raise InputError(f"model {self.spec.name!r} fills in parts of pictures: sfumato inpaint")
        if self._autoencoder is not None and (clip or dynamic_threshold is not None):
            raise InputError(
                f"model {self.spec.name!r} diffuses latents, which may lie outside [-1, 1]; leave clip and "
                "dynamic_threshold out"
            )
        clip = self._autoencoder is None if clip is None else clip
        condition = self.condition(asked, tell=True) if condition is None else condition
        negative = condition if weak else self.condition(away(self.spec, asked, guidance))
        weaker = None if weak is None else partial(weak.denoised, condition=weak.condition(asked))
        replay = Replay() if calls >= LEAST_REPLAYED and self._stays else None
        belief = None
        if guidance.classifier is not None:
            belief = guidance.classifier.log_probability(torch.from_numpy(asked.rows).to(self.device))

        def chain(last: Tensor | None = None) -> Denoiser:
            """All of it, for a network that sees its last x̂0."""
            toward, away_from = condition, negative
            if last is not None:
                toward, away_from = replace(condition, pictures=last), replace(negative, pictures=last)

            def heard(x: Tensor, t: float, shown: Condition) -> Tensor:
                guess, further = self.predicted(x, t, shown, replay)
                if hear is not None and (shown is toward or shown is not away_from):
                    hear(further[: len(asked)])  # of both at once, what is gone towards comes first
                return guess

            def plain(x: Tensor, t: float) -> Tensor:
                return heard(x, t, toward)

            if weaker is not None:
                guided = autoguidance(plain, weaker, guidance_scale, guidance.rescale)
            else:
                guided = classifier_free(heard, toward, away_from, guidance_scale, guidance.rescale, guidance.together)
            if belief is not None:
                guided = classifier_guidance(guided, belief, guidance.s, self.diffusion.schedule)
            if guidance.interval is not None:
                guided = within(guided, plain, *guidance.interval)
            if dynamic_threshold is not None:
                return dynamically_thresholded(guided, dynamic_threshold)
            return clipped(guided) if clip else guided

        return remembering(chain, calls) if self.spec.self_conditioning and calls else chain()

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

    def trajectory(
        self,
        seeds: Sequence[int],
        label: Label | np.ndarray = None,
        request: Request | None = None,
        prompt: Prompt = None,
    ) -> Iterator[Step]:
        """Every step of sampling a batch, x in the network's range."""
        order = Order.of(self, request or Request(), len(seeds), seeds, label, prompt, drawn=True)
        table = self.table(order.request)
        spread = order.spread(table)
        yield from steps(order.denoiser(table, spread=spread), order.start(table), table, seeds, spread)

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
        order, table = Order.of(self, request, n, seed, label, prompt, drawn=True), self.table(request)
        note_scale(table, self.tuned, order.scale)
        return Images(order.made(table, batch=batch, progress=progress), order.provenance())


def load(
    source: str | Path,
    device: str = "cpu",
    dtype: str = "float32",
    offload: Offload | None = None,
    most_scores: int | None = None,
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
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
        lora: a LoRA file for its U-Net, or the folder of a run that learned one; its updates are merged in memory.
        lora_scale: how much of it; 0 is none.

    Raises:
        InputError: when there is no such model or it cannot be understood; it says which file and why. The same for a
            LoRA file that does not fit.
    """
    folder = find_folder(source)
    number_type, turns = find_dtype(dtype), Turns(find_device(device), offload)
    spec, network = open_folder(folder, number_type)
    assert spec.weights is not None  # it was opened
    reader = open_reader(spec.text, folder, turns, number_type) if spec.text else None
    tuned = load_tuned(folder, spec.weights.sha256)
    if lora is not None:
        from sfumato.models.convert.with_lora import opened_with_lora  # seldom needed, and it is much

        spec, network = opened_with_lora(spec, network, Path(lora), lora_scale)
        tuned = {}  # they are the weights' without it
    decoder = partial(read_autoencoder, folder, spec.autoencoder, number_type) if spec.autoencoder else None
    return Model(
        spec,
        partial(bounded, network, most_scores),
        turns,
        tuned,
        reader,
        decoder and partial(bounded, decoder, most_scores),
    )
