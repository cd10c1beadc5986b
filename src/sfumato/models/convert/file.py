"""A model in a single file: Stable Diffusion as CompVis' code saves it, or a U-Net of OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sfumato.conditioning.frozen import frozen_spec
from sfumato.diffusion.config import ScheduleConfig, ScheduleName
from sfumato.diffusion.prediction import Prediction
from sfumato.errors import InputError
from sfumato.models.convert.autoencoder import SCALE, autoencoder_from_compvis
from sfumato.models.convert.checkpoint import read_checkpoint
from sfumato.models.convert.converted import TEXT_DROPOUT, Converted, class_labels, defaults_for
from sfumato.models.convert.schedule import schedule_from_betas
from sfumato.models.convert.single_file import split
from sfumato.models.convert.text_encoder import clip_from_tensors
from sfumato.models.convert.unet_openai import unet_from_openai
from sfumato.models.parts import Parts
from sfumato.models.spec import ModelSpec

__all__ = ["Told", "from_file"]

STABLE = ScheduleConfig("scaled-linear", 1000, False, 8.5e-4, 1.2e-2)
STABLE_HEADS, STABLE_SIZE = 8, (512, 512)


@dataclass(frozen=True)
class Told:
    """What a single file does not say. None: Stable Diffusion 1's, or what the error message asks for.

    Attributes:
        size: (height, width) of the pictures.
        heads, head_channels, by_head: of the attention, as in `unet_from_openai`.
        schedule, steps: of the noise, where the file has no betas; linear and 1000 for OpenAI's.
        prediction: what the network predicts; the noise unless it is said.
        tokenizer: folder of the tokenizer of Stable Diffusion's text encoder.
    """

    size: tuple[int, int] | None = None
    heads: int | None = None
    head_channels: int | None = None
    by_head: bool = True
    schedule: ScheduleName | None = None
    steps: int | None = None
    prediction: Prediction = "eps"
    tokenizer: Path | None = None


def from_file(path: Path, work: Path, told: Told, *, name: str, allow_pickle: bool = False) -> Converted:
    """Read one file.

    Args:
        path: .safetensors, .ckpt, .pt …
        work: an empty folder for the text encoder's files, which must stay until the model is saved.
        told: what the file does not say.
        name: of the new model.
        allow_pickle: as in `read_checkpoint`.

    Raises:
        InputError: naming the file, and what is missing, unknown, or must be told.
    """
    tensors = read_checkpoint(path, allow_pickle)
    try:
        if "input_blocks.0.0.weight" in tensors:
            return _openai(tensors, told, name)
        return _stable_diffusion(tensors, work, told, name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _stable_diffusion(tensors: Mapping[str, Tensor], work: Path, told: Told, name: str) -> Converted:
    found = split(tensors)
    if not found.autoencoder or not found.text:
        lacks = "autoencoder" if not found.autoencoder else "text encoder"
        raise InputError(f"it has no {lacks}, which Stable Diffusion needs; convert a diffusers folder with all parts")
    if told.tokenizer is None:
        raise InputError("it has no tokenizer; give the folder of one (tokenizer/ of a diffusers folder): --tokenizer")
    schedule = STABLE if found.betas is None else schedule_from_betas(found.betas)
    heads = told.heads or (None if told.head_channels else STABLE_HEADS)
    network, state = unet_from_openai(found.unet, heads=heads, head_channels=told.head_channels, steps=schedule.steps)
    scale = SCALE if found.scale is None else found.scale
    autoencoder, autoencoder_state = autoencoder_from_compvis(found.autoencoder, scale)
    length = clip_from_tensors(found.text, told.tokenizer, work)
    spec = ModelSpec(
        name=name,
        network=network,
        schedule=schedule,
        prediction=told.prediction,
        size=told.size or STABLE_SIZE,
        text=frozen_spec("clip", work, length, dropout=TEXT_DROPOUT),
        autoencoder=autoencoder,
        sampling=defaults_for(text=True),
        training={"converted_from": "Stable Diffusion in one file"},
    )
    notes = [f"left out: {what} ({count} tensors)" for what, count in found.dropped.items()]
    if found.betas is None:
        notes.append("the file has no schedule; taken to be Stable Diffusion's")
    return Converted(spec, state, found.which, Parts(autoencoder_state, work), tuple(notes))


def _openai(tensors: Mapping[str, Tensor], told: Told, name: str) -> Converted:
    if told.size is None:
        raise InputError("the size of the pictures stands in no such file: give it with --size")
    schedule = ScheduleConfig(told.schedule or "linear", told.steps or 1000, False)
    network, state = unet_from_openai(
        tensors, heads=told.heads, head_channels=told.head_channels, steps=schedule.steps, by_head=told.by_head
    )
    spec = ModelSpec(
        name=name,
        network=network,
        schedule=schedule,
        prediction=told.prediction,
        variance="interpolated" if network.output_channels == 2 * network.in_channels else "fixed",  # as all of theirs
        size=told.size,
        labels=class_labels(network.labels),
        sampling=defaults_for(text=False),
        training={"converted_from": "a U-Net of OpenAI's"},
    )
    notes = (f"taken to be trained with the schedule {schedule.name!r} of {schedule.steps} steps",)
    return Converted(spec, state, "average", notes=notes)
