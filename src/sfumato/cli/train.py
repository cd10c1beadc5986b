"""`sfumato train`: the options are the fields of `TrainConfig`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sfumato.cli.options import take_option
from sfumato.cli.resume import stored_defaults
from sfumato.training.config import TrainConfig
from sfumato.training.presets import as_options, preset

__all__ = ["Train"]


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model. With --resume, options that are not given are those the run was started with."""

    preset: str | None = None
    """a published training: ddpm-cifar10, iddpm-cifar10, adm-64, edm-cifar10, or emoji; other options override it"""
    dry_run: bool = False
    """only say how large the network is, what it costs, and how long the run would take on this machine"""

    @staticmethod
    def defaults(words: Sequence[str], file: Mapping[str, Any]) -> dict[str, Any]:
        """The preset, and above it, for --resume, the config stored in the run's folder."""
        name = take_option(list(words), "--preset") or file.get("preset")
        nowhere = {"data": "", "out": ""} if "--dry-run" in words else {}  # neither is looked at
        chosen = {} if name is None else as_options(name)
        return {**nowhere, **chosen, **stored_defaults(words, {**chosen, **file})}

    def run(self) -> None:
        """Train, and say where the model is."""
        config = TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)})
        if self.preset is not None:
            found = preset(self.preset)
            print(f"{self.preset}: {found.source}\n  differs: {found.differs}")
        if self.dry_run:
            from sfumato.training.estimate import estimate

            print(estimate(config))
            return
        from sfumato.training.loop import train

        folder = train(config)
        print(f"model: {folder}")
