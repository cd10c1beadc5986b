"""Going on from a model: which options it decides, and what is good advice for the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.models.folder import read_description
from sfumato.models.parts import TEXT
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec
from sfumato.networks.blank import blank
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.sizes import written
from sfumato.training.config import TrainConfig
from sfumato.typed import build

__all__ = ["check_network", "check_options", "fine_tuning", "options_from"]

UNKNOWN_RATE = 1e-4  # taken as the learning rate of a model that does not say by which it was trained
BY_DATA = ("in_channels", "out_channels", "labels", "context", "vocabulary", "tokens")  # of a network
KEEPS = (
    "A run that goes on from a model keeps that. Leave it out, and --from (in Python, training.fine_tuning) takes it "
    "from the model; or train a new one."
)


def fine_tuning(model: str | Path, **options: Any) -> TrainConfig:
    """The config of a run that goes on from a model, for `sfumato.train`.

    Args:
        model: a shipped name, a model folder, or the folder of a run.
        options: fields of `TrainConfig`; `data` and `out` at the least. The others are `options_from` the model.

    Raises:
        InputError: when there is no such model.
    """
    lora = options.get("lora")
    known = {**options_from(model, lora is not None and lora.rank is not None), "data": "", "out": ""}
    return replace(build(TrainConfig, known, str(model)), start=str(model), **options)


def options_from(model: str | Path, lora: bool = False) -> dict[str, Any]:
    """Defaults of `TrainConfig` for going on from a model, as plain values: what it decides, and advice.

    A tenth of the learning rate it was trained with at first, so that it forgets little; for an adapter that rate
    itself, since its factors begin from nothing. 20,000 pictures, in steps of 16.
    """
    folder = find_folder(model)
    spec = read_description(folder, "model.json", ModelSpec)
    rate = spec.training.get("learning_rate")
    rate = rate if isinstance(rate, float) and rate > 0 else UNKNOWN_RATE
    first = 10 * rate if "parent" in spec.training else rate
    advice = {
        "size": written(spec.size),
        "lr": first if lora else first / 10,
        "warmup": 500,
        "pictures": 20_000,
        "batch": 16,
        "checkpoint_every": 5_000,
        "sample_every": 5_000,
    }
    return {**advice, **_decided_by(spec, folder)}


def _decided_by(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """What a model decides of the options of a run that goes on from it, as plain values."""
    open_still = {name: getattr(UNetConfig(), name) for name in BY_DATA}
    reader = {} if spec.text is None else {"text": spec.text.encoder, "text_length": spec.text.length}
    if spec.text is not None and spec.text.encoder == "words":
        reader["text_features"] = spec.network.context
    return {
        "network": asdict(replace(spec.network, **open_still)),
        "schedule": asdict(spec.schedule),
        "prediction": spec.prediction,
        "objective": {key: getattr(spec, key) for key in ("variance", "sigma_data", "self_conditioning")},
        "text": "none",
        "text_encoder": folder / TEXT if (folder / TEXT).is_dir() else None,
        **reader,
        "autoencoder": None if spec.autoencoder is None else folder,
    }


def check_options(config: TrainConfig, spec: ModelSpec, folder: Path) -> None:
    """Raise `InputError`, naming the option and both values, unless a run's options are what its model decides."""
    decided = _decided_by(spec, folder)
    _compare(_plain(asdict(config)), _plain({**decided, "network": {}}), spec.name)
    check_network(replace(config.network, **{name: getattr(spec.network, name) for name in BY_DATA}), spec)


def check_network(wanted: UNetConfig, spec: ModelSpec) -> None:
    """Raise `InputError`, naming the option, both values and the first tensor that differs, unless a network of this
    shape can go on from a model's weights. It may have other labels."""
    own = spec.network
    for field in fields(UNetConfig):
        asked, has = getattr(wanted, field.name), getattr(own, field.name)
        if field.name not in ("labels", "dropout") and asked != has:
            raise InputError(
                f"network.{field.name} would be {asked!r}, but {spec.name} has {has!r}"
                f"{_first_difference(wanted, own)}. {KEEPS}"
            )


def _compare(asked: Mapping[str, Any], decided: Mapping[str, Any], name: str, where: str = "") -> None:
    for key, value in decided.items():
        if isinstance(value, Mapping):
            _compare(asked[key], value, name, f"{where}{key}.")
        elif asked[key] != value:
            raise InputError(f"{where}{key} is {asked[key]!r}, but {name} has {value!r}. {KEEPS}")


def _first_difference(wanted: UNetConfig, own: UNetConfig) -> str:
    """In brackets, the first tensor that has another shape in a network of the one kind than in one of the other."""
    with blank():
        shapes = [{k: tuple(v.shape) for k, v in UNet(kind).state_dict().items()} for kind in (wanted, own)]
    for name in {**shapes[1], **shapes[0]}:
        now, has = (shape.get(name) for shape in shapes)
        if now != has and not name.startswith("labels."):
            return f" ({name} would be {now or 'absent'}, and is {has or 'absent'})"
    return ""


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values, default=str))
