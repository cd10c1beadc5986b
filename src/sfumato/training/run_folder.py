"""What lies in a run's folder: config.json, data.safetensors where pictures had to be read, log.jsonl, checkpoints/,
samples/ and model/."""

from __future__ import annotations

import dataclasses
import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sfumato._version import __version__
from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.data.pack import read_pack, write_pack
from sfumato.data.sources import open_data
from sfumato.errors import InputError
from sfumato.files import check_writable, write_text
from sfumato.models.spec import ModelSpec, SamplingDefaults
from sfumato.networks.config import UNetConfig
from sfumato.training.checkpoint import Position
from sfumato.training.classifier_config import ClassifierConfig
from sfumato.training.config import TrainConfig, stored_config

__all__ = ["check_same", "locked", "model_spec", "network_for", "open_run", "record"]

# what may differ when a run goes on: where, how fast and how talkative …
FREE = {"out", "workers", "resume", "device", "threads", "log_every", "checkpoint_every", "sample_every", "keep"}
# … and what changes what is learned, but is a decision that one makes on the way
DECIDED = {"pictures", "lr", "clip"}


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a run's folder: a second process that wants it gets an `InputError`. The lock ends with the process."""
    check_writable(out, need_bytes=0)
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is training in {out}. Wait for it, or choose another folder.") from error
        yield


def open_run(config: TrainConfig, say: Callable[[str], None]) -> Dataset:
    """The data of a new run or of one that goes on. Raises `InputError` when the folder holds another run, or none."""
    if config.resume:
        stored, present = stored_config(config.out), to_plain(config)
        changed = [key for key in present if key not in FREE and present[key] != stored.get(key)]
        for key in changed:
            if key not in DECIDED:
                raise InputError(
                    f"--resume goes on with the same run, but {key} was {stored.get(key)!r} and now is "
                    f"{present[key]!r}. Leave it out, or start a new run in another folder."
                )
            was, now = stored.get(key), present[key]
            say(f"Note: {key} was {was} and now is {now}. From where that takes effect, it is another run.")
    elif (config.out / "config.json").exists():
        raise InputError(
            f"{config.out} already holds a run. Go on with it: sfumato train --out {config.out} --resume. "
            "Or choose another folder."
        )
    packed = config.out / "data.safetensors"
    if packed.exists() and config.resume:
        data = read_pack(packed)
    else:
        data = open_data(config.data, size=config.size, workers=config.workers)
        if Path(config.data).is_dir():
            write_pack(data, packed)
            data = read_pack(packed)
    say(f"{data.name}: {len(data):,} pictures of {data.images.shape[2]}x{data.images.shape[1]}")
    return data


def record(config: TrainConfig) -> None:
    """Write config.json: from now on the folder holds this run, with these options."""
    write_text(config.out / "config.json", json.dumps(to_plain(config), indent=1) + "\n")


def network_for(config: TrainConfig | ClassifierConfig, data: Dataset) -> UNetConfig:
    """The network's shape with the channels and labels of the data. `InputError` when the config says otherwise."""
    channels, labels = data.images.shape[3], tuple(map(len, data.kinds.values()))
    asked = config.network
    for name, value, actual in [
        ("in_channels", asked.in_channels, {UNetConfig().in_channels, channels}),
        ("out_channels", asked.out_channels, {None, channels}),
        ("labels", asked.labels, {(), labels}),
    ]:
        if value not in actual:
            raise InputError(f"network.{name} is {value}, but the data has {channels} channels and labels {labels}")
    return replace(asked, in_channels=channels, out_channels=None, labels=labels)


def check_same(position: Position, data: Dataset, machine: str, say: Callable[[str], None]) -> None:
    """Refuse other data; say so when the machine differs, which may round sums differently."""
    if position.data not in ("", data.fingerprint):
        raise InputError("the data is not what this run was started with (its fingerprint differs)")
    if position.machine not in ("", machine):
        say(f"Note: now on {machine}, before on {position.machine}. Not bit for bit the same run.")


def model_spec(config: TrainConfig, data: Dataset, labels: LabelSet, network: UNetConfig) -> ModelSpec:
    """The description of the model that this run makes."""
    facts = {
        "pictures": 0,
        "batch": config.batch,
        "seed": config.seed,
        "learning_rate": config.lr,
        "weighting": config.weighting,
        "ema_halflife": config.ema_halflife,
        "sfumato": __version__,
        "torch": torch.__version__,
    }
    height, width = data.images.shape[1:3]
    return ModelSpec(
        name=data.name,
        network=network,
        schedule=config.schedule,
        prediction=config.prediction,
        size=(height, width),
        labels=labels,
        sampling=SamplingDefaults(spacing="log-snr"),
        training=facts,
        data={
            "name": data.name,
            "count": len(data),
            "fingerprint": data.fingerprint,
            "source": data.source,
            "licence": data.licence,
        },
        licence="that of its training data; decide before you publish it",
    )


def to_plain(config: TrainConfig) -> dict[str, Any]:
    """A config as JSON values: what is written equals what is read back."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))
