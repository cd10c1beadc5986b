"""Checkpoints: one safetensors file each, written whole or not at all. A run goes on from the newest readable one.

A checkpoint holds weights, averages and the optimizer's state; how far the run was and how long its log was stand in
the header. There is no random state to hold (see `batches`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from sfumato.errors import InputError
from sfumato.files import atomic_path
from sfumato.training.ema import Average

__all__ = ["Position", "Window", "load", "newest", "save"]

FORMAT = 1


@dataclass(frozen=True)
class Window:
    """Loss and gradient norm since the last line of the log, so that a resumed run writes the same lines."""

    loss_sum: float = 0.0  # over pictures
    count: int = 0
    largest: float = 0.0  # gradient norm

    @property
    def mean(self) -> float:
        return self.loss_sum / max(self.count, 1)

    def with_step(self, loss: float, norm: float, count: int) -> Window:
        return Window(self.loss_sum + loss * count, self.count + count, max(self.largest, norm))


@dataclass(frozen=True)
class Position:
    """Where a run stands."""

    seen: int  # pictures shown so far
    log_bytes: int  # length of log.jsonl; what lies beyond it is redone
    window: Window  # what the next line of the log begins with
    data: str  # fingerprint of the data
    threads: int  # CPU threads: another number may round sums differently
    seconds: float  # spent so far, over all sittings


def save(folder: Path, position: Position, model: nn.Module, average: Average, optimizer: Optimizer, keep: int) -> Path:
    """Write a checkpoint and remove all but the `keep` newest. Returns its path."""
    tensors = _flatten(model, average, optimizer)
    path = folder / f"{position.seen:012d}.safetensors"
    header = {"sfumato_checkpoint": json.dumps({"format": FORMAT, **asdict(position)})}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=header)
    for old in _all(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def newest(folder: Path) -> Path:
    """The newest checkpoint that can be read; a damaged one is passed over. Raises `InputError` when there is none."""
    for path in reversed(_all(folder)):
        try:
            _position(path)
        except (SafetensorError, InputError, OSError):
            continue
        return path
    raise InputError(f"{folder} holds no checkpoint to resume from. Start without --resume.")


def load(path: Path, model: nn.Module, average: Average, optimizer: Optimizer) -> Position:
    """Put a checkpoint's state into model, average and optimizer; return where the run stood."""
    position = _position(path)
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, not a dict)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(_take(stored, f"weights/{name}", value, path))
        for name, value in average.values.items():
            value.copy_(_take(stored, f"average/{name}", value, path))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.state.clear()
    for i, parameter in enumerate(parameters):
        prefix = f"optimizer/{i}/"
        entries = {name.removeprefix(prefix): stored.pop(name) for name in list(stored) if name.startswith(prefix)}
        for name, value in entries.items():
            if name == "step":
                optimizer.state[parameter][name] = value.to(parameter.device)
            else:
                optimizer.state[parameter][name] = torch.empty_like(parameter).copy_(value)
    if stored:
        raise InputError(f"{path} holds tensors that this run has no place for, such as {next(iter(stored))}")
    return position


def _flatten(model: nn.Module, average: Average, optimizer: Optimizer) -> dict[str, Tensor]:
    tensors = {f"weights/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.values.items()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        tensors |= {f"optimizer/{i}/{name}": value for name, value in optimizer.state[parameter].items()}
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _take(stored: dict[str, Tensor], name: str, like: Tensor, path: Path) -> Tensor:
    value = stored.pop(name, None)
    if value is None or value.shape != like.shape:
        found = "is missing" if value is None else f"has the shape {tuple(value.shape)}, not {tuple(like.shape)}"
        raise InputError(f"{path}: {name} {found}. The run was started with another network.")
    return value


def _position(path: Path) -> Position:
    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get("sfumato_checkpoint")
    if header is None:
        raise InputError(f"{path} is not a checkpoint of sfumato")
    facts = json.loads(header)
    if facts.pop("format", None) != FORMAT:
        raise InputError(f"{path} was written by another version of sfumato, whose checkpoints this one cannot read")
    return Position(**{**facts, "window": Window(**facts["window"])})


def _all(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("."))
