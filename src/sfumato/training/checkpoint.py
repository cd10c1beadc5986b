"""Checkpoints, each written whole or not at all. A run goes on from the newest that is whole.

A checkpoint holds states by name (weights, averages, what an objective learned) and the optimizer's; how far the run
was and how long its log was stand in the header. There is no random state to hold (see `batches`). It is one file of
safetensors, or, where FSDP trains, a folder of shards (`sharded`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from sfumato.errors import InputError
from sfumato.files import atomic_path
from sfumato.models.folder import write_tensors
from sfumato.training import sharded
from sfumato.training.by_time import ByTime
from sfumato.training.entries import DamagedError, commit, newest_whole
from sfumato.training.ranks import ALONE, World
from sfumato.training.told import Told
from sfumato.typed import build

__all__ = ["Position", "States", "Window", "restore", "save"]

FORMAT = 2  # 1: the checksum is of names and bytes alone
HEADER = "sfumato_checkpoint"

States = Mapping[str, Mapping[str, Tensor]]
"""What a checkpoint holds, by name: tensors by name, which `restore` writes into."""


@dataclass(frozen=True)
class Window:
    """Losses and gradient norm since the last line of the log, so that a resumed run writes the same lines."""

    loss_sum: float = 0.0  # over pictures
    count: int = 0
    largest: float = 0.0  # gradient norm
    part_sums: Mapping[str, float] = field(default_factory=dict)  # what else is told, over pictures
    by_time: ByTime = field(default_factory=ByTime)

    @property
    def mean(self) -> float:
        return self.loss_sum / max(self.count, 1)

    @property
    def parts(self) -> dict[str, float]:
        """Means of what else is told."""
        return {name: value / max(self.count, 1) for name, value in self.part_sums.items()}

    def with_step(
        self, loss: float, norm: float, count: int, parts: Mapping[str, float], by_time: Sequence[float]
    ) -> Window:
        """Also with a step: means of its losses and parts, its gradient norm, and its sums by time, where there are."""
        sums = {name: self.part_sums.get(name, 0.0) + value * count for name, value in parts.items()}
        largest, times = max(self.largest, norm), self.by_time.plus(by_time)
        return Window(self.loss_sum + loss * count, self.count + count, largest, sums, times)


@dataclass(frozen=True)
class Position:
    """Where a run stands."""

    seen: int = 0  # pictures shown so far
    log_bytes: int = 0  # length of log.jsonl; what lies beyond it is redone
    window: Window = Window()  # what the next line of the log begins with
    data: str = ""  # fingerprint of the data
    machine: str = ""  # device, arithmetic, threads, torch: with others, sums may be rounded differently
    seconds: float = 0.0  # spent so far, over all sittings
    told: Told = field(default_factory=Told)  # which warnings


def save(
    folder: Path, position: Position, states: States, optimizer: Optimizer, keep: int, world: World = ALONE
) -> None:
    """Write a checkpoint and remove all but the `keep` newest. Called by all ranks.

    Rank 0 writes a file; where tensors are sharded, all write a folder (`sharded`). Raises `OSError` when it cannot be.
    """
    facts, name = {"format": FORMAT, "position": asdict(position)}, f"{position.seen:012d}"
    if not (world.leads or world.shards):
        return
    tensors = _flatten(states, optimizer)
    if world.shards:
        sha256 = sharded.write(folder / name, tensors, facts, world)
    else:
        tensors = {key: value.cpu().contiguous() for key, value in tensors.items()}
        sha256, name = _digest(tensors, facts), f"{name}.safetensors"
        with atomic_path(folder / name) as temporary:
            write_tensors(tensors, temporary, {HEADER: json.dumps({**facts, "sha256": sha256})})
    if world.leads:
        commit(folder, name, sha256, keep)


def restore(
    folder: Path, states: States, optimizer: Optimizer, say: Callable[[str], None], world: World = ALONE
) -> Position:
    """Go on from the newest checkpoint that is whole; from the beginning where there is none yet.

    A damaged one is passed over: `say` is told, and it gets the ending .damaged. It may be of another kind, and of
    another number of ranks, than the next one will be. Of several ranks, rank 0 goes first, and looks for damage.

    Raises:
        InputError: when there are checkpoints but none is whole, when they were written by a newer version, or by a run
            with another network.
    """
    found = newest_whole(folder, partial(_read, world=world), say)
    if found is None:
        say(f"There is no checkpoint in {folder} yet: the run begins anew.")
        return Position()
    _put(found, states, optimizer)
    return found.position


class _Stored(NamedTuple):
    """An entry that is whole."""

    path: Path
    position: Position
    shapes: Mapping[str, torch.Size]
    fill: Callable[[Mapping[str, Tensor]], None]  # copies its tensors to where they belong, by name


def _read(path: Path, world: World) -> tuple[_Stored, str]:
    """For `newest_whole`."""
    if path.is_dir():
        facts, sha256 = sharded.read(path)
        _check_format(path, facts)
        if world.leads:
            sharded.verify(path, facts)
        shapes, fill = sharded.shapes(path), partial(sharded.fill, path)
    else:
        facts, tensors = _read_file(path)
        sha256 = facts.pop("sha256")
        if sha256 != _digest(tensors, None if _check_format(path, facts) == 1 else facts):
            raise DamagedError("its content does not match its checksum")
        shapes, fill = {name: value.shape for name, value in tensors.items()}, partial(_copy, world, tensors)
    try:
        return _Stored(path, build(Position, facts["position"], str(path)), shapes, fill), sha256
    except InputError as error:
        raise DamagedError(str(error)) from error


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, not a dict)
        missing = {"format", "sha256", "position"} - facts.keys()
    except (SafetensorError, OSError, KeyError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise DamagedError(f"it cannot be read ({type(error).__name__}: {error})") from error
    if missing:
        raise DamagedError(f"it cannot be read (no {min(missing)} in it)")
    return facts, tensors


def _check_format(path: Path, facts: Mapping[str, Any]) -> int:
    if facts["format"] not in (1, FORMAT):
        raise InputError(f"{path} has the format {facts['format']}, this version of sfumato reads up to {FORMAT}")
    return facts["format"]


def _put(stored: _Stored, states: States, optimizer: Optimizer) -> None:
    """Copy a checkpoint's tensors to where they belong; each must have a place, and each place its tensor."""
    places, shapes = _named(states), stored.shapes
    optimizer.state.clear()
    for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        if f"optimizer/{i}/step" in shapes:  # AdamW has no state before its first step
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state = {"step": step, **{name: torch.empty_like(parameter) for name in ("exp_avg", "exp_avg_sq")}}
            optimizer.state[parameter].update(state)
            places |= {f"optimizer/{i}/{name}": value for name, value in state.items()}
    wrong = sorted(set(places) ^ set(shapes)) or sorted(k for k, v in places.items() if v.shape != shapes[k])
    if wrong:
        raise InputError(f"{stored.path}: {wrong[0]} does not fit this run. It was started with another network.")
    with torch.no_grad():
        stored.fill(places)


def _copy(world: World, tensors: Mapping[str, Tensor], places: Mapping[str, Tensor]) -> None:
    for name, place in places.items():
        world.fill(place, tensors[name])


def _flatten(states: States, optimizer: Optimizer) -> dict[str, Tensor]:
    tensors = _named(states)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        tensors |= {f"optimizer/{i}/{name}": value for name, value in optimizer.state[parameter].items()}
    return {name: value.detach() for name, value in tensors.items()}


def _named(states: States) -> dict[str, Tensor]:
    return {f"{state}/{name}": value for state, tensors in states.items() for name, value in tensors.items()}


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None) -> str:
    """Of all tensors, and of what else the file says; None: as format 1 had it, of the tensors' names and bytes."""
    digest = hashlib.sha256()
    if facts is not None:
        shapes = {name: [str(value.dtype), *value.shape] for name, value in tensors.items()}
        digest.update(json.dumps([facts, shapes], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
