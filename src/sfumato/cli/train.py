"""`sfumato train`: the options are the fields of `TrainConfig`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import tyro

from sfumato.cli.options import take_option
from sfumato.cli.resume import resumes, stored_defaults
from sfumato.errors import InputError
from sfumato.training.config import TrainConfig
from sfumato.training.presets import as_options, preset

__all__ = ["Train"]


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model. With --resume, options that are not given are those the run was started with."""

    start: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """go on from a model: a shipped name, a model folder, or the folder of a run (in a TOML file: start)"""
    preset: str | None = None
    """a published training: ddpm-cifar10, iddpm-cifar10, adm-64, edm-cifar10, or emoji; other options override it"""
    dry_run: bool = False
    """only say how large the network is, what it costs, and how long the run would take on this machine"""
    find_batch: bool = False
    """only find the largest batch that fits into memory, with what saves memory and without, and measure it"""

    @staticmethod
    def defaults(words: Sequence[str], file: Mapping[str, Any]) -> dict[str, Any]:
        """The preset, or what a model to go on from decides; above it, for --resume, the config in the run's folder."""
        name = take_option(list(words), "--preset") or file.get("preset")
        start = take_option(list(words), "--from") or file.get("start")
        if name is not None and start is not None:
            raise InputError("--preset and --from exclude each other: the model decides what the preset would")
        nowhere = {"data": "", "out": ""} if {"--dry-run", "--find-batch"} & {*words} else {}  # neither is looked at
        chosen = {} if name is None else as_options(name)
        if start is not None and not resumes(words, file):
            from sfumato.training.fine_tuning import options_from

            adapter = any(word.startswith("--lora.rank") for word in words) or bool(file.get("lora"))
            chosen = {"start": start, **options_from(start, adapter)}
        return {**nowhere, **chosen, **stored_defaults(words, {**chosen, **file})}

    def run(self) -> None:
        """Train, and say where the model is."""
        config = TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)})
        speaks = os.environ.get("RANK", "0") == "0"  # of several processes the first one, for all
        if self.preset is not None and speaks:
            found = preset(self.preset)
            print(f"{self.preset}: {found.source}\n  differs: {found.differs}")
        if self.dry_run:
            from sfumato.training.estimate import estimate

            print(estimate(config))
            return
        if self.find_batch:
            from sfumato.training.find_batch import find_batch

            print(find_batch(config))
            return
        from sfumato.training.loop import train

        made = train(config)
        if not speaks:
            return
        if config.lora.rank is None:
            print(f"model: {made}")
        else:
            print(f"adapter: {made}\nuse it: sfumato sample {config.start} --lora {config.out}")
