"""What lies in a run's folder: config.json, data.safetensors where pictures had to be read, log.jsonl, checkpoints/,
samples/ and model/."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from sfumato._version import __version__
from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.data.pack import read_pack, write_pack
from sfumato.data.sources import open_data
from sfumato.errors import InputError
from sfumato.files import check_writable, write_text
from sfumato.models.spec import ModelSpec
from sfumato.networks.config import UNetConfig
from sfumato.training.checkpoint import Position
from sfumato.training.config import TrainConfig

__all__ = ["check_same", "model_spec", "prepare", "stored_config"]

# what may differ when a run goes on: how long, how fast and how talkative, not what is learned
FREE = {
    "out",
    "pictures",
    "workers",
    "resume",
    "device",
    "threads",
    "log_every",
    "checkpoint_every",
    "sample_every",
    "keep",
}


def prepare(config: TrainConfig, console: Console) -> Dataset:
    """Open the run's folder and its data. Raises `InputError` when the folder holds another run."""
    config_file = config.out / "config.json"
    present = to_plain(config)
    if config.resume:
        stored = json.loads(stored_config(config.out))
        changed = [key for key in present if key not in FREE and present[key] != stored.get(key)]
        if changed:
            key = changed[0]
            raise InputError(
                f"--resume goes on with the same run, but {key} was {stored.get(key)!r} and now is {present[key]!r}. "
                "Leave it out, or start a new run in another folder."
            )
    elif config_file.exists():
        raise InputError(
            f"{config.out} already holds a run. Go on with it: sfumato train --out {config.out} --resume. "
            "Or choose another folder."
        )
    check_writable(config.out, need_bytes=0)
    packed = config.out / "data.safetensors"
    if packed.exists() and config.resume:
        data = read_pack(packed)
    else:
        data = open_data(config.data, size=config.size, workers=config.workers)
        if Path(config.data).is_dir():
            write_pack(data, packed)
            data = read_pack(packed)
    console.print(
        f"{data.name}: {len(data):,} pictures of {data.images.shape[2]}x{data.images.shape[1]}", highlight=False
    )
    if not config.resume:
        write_text(config_file, json.dumps(present, indent=1) + "\n")
    return data


def stored_config(out: Path) -> str:
    """config.json of a run. Raises `InputError` when there is none."""
    try:
        return (out / "config.json").read_text("utf-8")
    except OSError as error:
        raise InputError(f"{out} holds no run to resume (no config.json). Start without --resume.") from error


def check_same(position: Position, data: Dataset, console: Console) -> None:
    """Refuse other data; warn of another number of threads, which may round sums differently."""
    if position.data != data.fingerprint:
        raise InputError("the data is not what this run was started with (its fingerprint differs)")
    threads = torch.get_num_threads()
    if position.threads != threads:
        console.print(f"Note: {threads} CPU threads now, {position.threads} before: not bit for bit the same run.")


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
        sampling={"solver": "dpmpp-2m", "steps": 20, "spacing": "log-snr", "guidance_scale": 1.0},
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
