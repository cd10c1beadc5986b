"""Checkpoints: one safetensors file each, written whole or not at all. A run goes on from the newest readable one.

A checkpoint holds states by name (weights, averages, what an objective learned) and the optimizer's; how far the run
was and how long its log was stand in the header. There is no random state to hold (see `batches`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from sfumato.errors import InputError
from sfumato.files import atomic_path
from sfumato.models.folder import write_tensors
from sfumato.typed import build

__all__ = ["Position", "States", "Window", "restore", "save"]

FORMAT = 1
HEADER = "sfumato_checkpoint"

States = Mapping[str, Mapping[str, Tensor]]
"""What a checkpoint holds, by name: tensors by name, which `restore` writes into."""


@dataclass(frozen=True)
class Window:
    """Loss and gradient norm since the last line of the log, so that a resumed run writes the same lines."""

    loss_sum: float = 0.0  # over pictures
    count: int = 0
    largest: float = 0.0  # gradient norm
    part_sums: Mapping[str, float] = field(default_factory=dict)  # what else is told, over pictures

    @property
    def mean(self) -> float:
        return self.loss_sum / max(self.count, 1)

    @property
    def parts(self) -> dict[str, float]:
        """Means of what else is told."""
        return {name: value / max(self.count, 1) for name, value in self.part_sums.items()}

    def with_step(self, loss: float, norm: float, count: int, parts: Mapping[str, float] | None = None) -> Window:
        sums = {name: self.part_sums.get(name, 0.0) + value * count for name, value in (parts or {}).items()}
        return Window(self.loss_sum + loss * count, self.count + count, max(self.largest, norm), sums)


@dataclass(frozen=True)
class Position:
    """Where a run stands."""

    seen: int = 0  # pictures shown so far
    log_bytes: int = 0  # length of log.jsonl; what lies beyond it is redone
    window: Window = Window()  # what the next line of the log begins with
    data: str = ""  # fingerprint of the data
    machine: str = ""  # device, arithmetic, threads, torch: with others, sums may be rounded differently
    seconds: float = 0.0  # spent so far, over all sittings


def save(folder: Path, position: Position, states: States, optimizer: Optimizer, keep: int) -> Path:
    """Write a checkpoint and remove all but the `keep` newest. Returns its path. Raises `OSError` when it cannot be."""
    tensors = _flatten(states, optimizer)
    path = folder / f"{position.seen:012d}.safetensors"
    facts = {"format": FORMAT, "sha256": _digest(tensors), "position": asdict(position)}
    with atomic_path(path) as temporary:
        write_tensors(tensors, temporary, {HEADER: json.dumps(facts)})
    others = [other for other in _all(folder) if other != path]
    for old in others[: len(others) - (keep - 1)]:
        old.unlink(missing_ok=True)
    return path


def restore(folder: Path, states: States, optimizer: Optimizer, say: Callable[[str], None]) -> Position:
    """Go on from the newest checkpoint that is whole; from the beginning where there is none yet.

    A damaged one is passed over: `say` is told, and its file gets the ending .damaged.

    Raises:
        InputError: when there are checkpoints but none is whole, when they were written by a newer version, or by a run
            with another network.
    """
    paths = _all(folder)
    for path in reversed(paths):
        try:
            position, tensors = _read(path)
        except _Damaged as error:
            path.rename(path.with_suffix(".damaged"))
            say(f"Passed over {path}: {error}. It is kept as {path.with_suffix('.damaged').name}.")
            continue
        _put(tensors, path, states, optimizer)
        return position
    if paths:
        raise InputError(f"none of the {len(paths)} checkpoints in {folder} is whole. Start again in another folder.")
    return Position()


class _Damaged(Exception):  # noqa: N818 (a word for `restore`, never shown)
    pass


def _read(path: Path) -> tuple[Position, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, not a dict)
        number, digest, position = facts["format"], facts["sha256"], facts["position"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _Damaged(f"it cannot be read ({type(error).__name__})") from error
    if number != FORMAT:
        raise InputError(f"{path} has the format {number}, this version of sfumato reads {FORMAT}")
    if _digest(tensors) != digest:
        raise _Damaged("its content does not match its checksum")
    try:
        return build(Position, position, str(path)), tensors
    except InputError as error:
        raise _Damaged(str(error)) from error


def _put(tensors: dict[str, Tensor], path: Path, states: States, optimizer: Optimizer) -> None:
    """Copy a checkpoint's tensors to where they belong; each must have a place, and each place its tensor."""
    places = _named(states)
    optimizer.state.clear()
    for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        if f"optimizer/{i}/step" in tensors:  # AdamW has no state before its first step
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state = {"step": step, **{name: torch.empty_like(parameter) for name in ("exp_avg", "exp_avg_sq")}}
            optimizer.state[parameter].update(state)
            places |= {f"optimizer/{i}/{name}": value for name, value in state.items()}
    wrong = sorted(set(places) ^ set(tensors)) or sorted(k for k, v in places.items() if v.shape != tensors[k].shape)
    if wrong:
        raise InputError(f"{path}: {wrong[0]} does not fit this run. It was started with another network.")
    with torch.no_grad():
        for name, value in places.items():
            value.copy_(tensors[name])


def _flatten(states: States, optimizer: Optimizer) -> dict[str, Tensor]:
    tensors = _named(states)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        tensors |= {f"optimizer/{i}/{name}": value for name, value in optimizer.state[parameter].items()}
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _named(states: States) -> dict[str, Tensor]:
    return {f"{state}/{name}": value for state, tensors in states.items() for name, value in tensors.items()}


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()


def _all(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("."))
