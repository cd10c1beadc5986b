"""A folder of diffusers, whole: Stable Diffusion with its autoencoder and text encoder, or a U-Net on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfumato.conditioning.frozen import frozen_spec
from sfumato.errors import InputError
from sfumato.models.convert.autoencoder import autoencoder_from_diffusers
from sfumato.models.convert.checkpoint import read_component, read_json
from sfumato.models.convert.converted import TEXT_DROPOUT, Converted, class_labels, defaults_for
from sfumato.models.convert.schedule import schedule_from_diffusers
from sfumato.models.convert.text_encoder import clip_from_folder
from sfumato.models.convert.unet_diffusers import unet_from_diffusers
from sfumato.models.parts import Parts
from sfumato.models.spec import ModelSpec

__all__ = ["STEM", "from_pipeline"]

STEM = "diffusion_pytorch_model"
KNOWN = {"unet", "scheduler", "vae", "text_encoder", "tokenizer"}
LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")


def from_pipeline(
    folder: Path, work: Path, *, name: str, size: tuple[int, int] | None = None, allow_pickle: bool = False
) -> Converted:
    """Read a folder that diffusers wrote.

    Args:
        folder: with unet/ and scheduler/, and for Stable Diffusion vae/, text_encoder/ and tokenizer/. Old pipelines
            have the U-Net's files at the top.
        work: an empty folder for the text encoder's files, which must stay until the model is saved.
        name: of the new model.
        size: (height, width) of its pictures; default: the U-Net's sample_size.
        allow_pickle: as in `read_checkpoint`.

    Raises:
        InputError: naming the part, and what in it is missing or cannot be represented.
    """
    index = folder / "model_index.json"
    made_by = read_json(index) if index.is_file() else {}
    for part, what in made_by.items():
        if isinstance(what, list) and any(what) and part not in KNOWN.union(LEFT_OUT):
            raise InputError(f"{index}: such a model ({made_by.get('_class_name')}) has a {part}, not known here")
    where = folder / "unet" if (folder / "unet").is_dir() else folder
    facts = _json(where / "config.json")
    scheduler = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    schedule, prediction = schedule_from_diffusers(_json(scheduler / "scheduler_config.json"))
    with _naming(where):
        network, tensors = unet_from_diffusers(facts, read_component(where, STEM, allow_pickle), schedule.steps)
    autoencoder, text, parts = None, None, Parts()
    if (vae := folder / "vae").is_dir():
        vae_facts = _json(vae / "config.json")
        with _naming(vae):
            autoencoder, state = autoencoder_from_diffusers(read_component(vae, STEM, allow_pickle), vae_facts)
        parts = Parts(state)
    if network.context:
        length = clip_from_folder(folder / "text_encoder", folder / "tokenizer", work, allow_pickle)
        text = frozen_spec("clip", work, length, dropout=TEXT_DROPOUT)
        parts = Parts(parts.autoencoder, work)
    spec = ModelSpec(
        name=name,
        network=network,
        schedule=schedule,
        prediction=prediction,
        size=size or _size(facts, autoencoder.factor if autoencoder else 1, where),
        labels=class_labels(network.labels),
        text=text,
        autoencoder=autoencoder,
        sampling=defaults_for(bool(network.context)),
        training={"converted_from": f"diffusers {made_by.get('_class_name', facts['_class_name'])}"},
    )
    left = [part for part in LEFT_OUT if (folder / part).is_dir()]
    notes = [f"left out: {', '.join(left)}"] if left else []
    return Converted(spec, tensors, "average", parts, tuple(notes))


@contextmanager
def _naming(part: Path) -> Iterator[None]:
    """An `InputError` from inside also says which part it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{part}: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing: not the folder of a pipeline that is known here")
    return read_json(path)


def _size(facts: dict[str, Any], factor: int, where: Path) -> tuple[int, int]:
    size = facts.get("sample_size")
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"{where / 'config.json'}: sample_size is {size!r}; say the size of the pictures with --size")
    return sides[0] * factor, sides[1] * factor
