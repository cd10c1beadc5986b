"""Averages that are chosen after the training: a model folder from the snapshots, or a checkpoint, of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sfumato.errors import InputError
from sfumato.models.folder import read_description, save_folder
from sfumato.models.parts import TEXT, Parts, read_autoencoder
from sfumato.models.spec import ModelSpec
from sfumato.training import sharded
from sfumato.training.averages import FURTHER, SNAPSHOTS, of_halflife
from sfumato.training.averages_config import check_length
from sfumato.training.entries import DamagedError, entries
from sfumato.training.power import Profile, combination, distance, exponent

__all__ = ["average_of_halflife", "average_of_length", "save_average"]


def average_of_length(run: Path, length: float, at: int | None = None) -> tuple[int, dict[str, Tensor], float]:
    """The average of any relative length, as if it had been kept: from the snapshots of two others.

    Args:
        run: a run's folder, finished or not.
        length: the profile's standard deviation as a share of the pictures seen.
        at: the pictures seen at its end; default: as many as at the last snapshot.

    Returns:
        The pictures seen; the weights; and how far the profile is from the wanted one, as a share of its norm.

    Raises:
        InputError: when the run keeps no such averages, has no snapshot up to there, or one that is damaged.
    """
    check_length(length)
    paths = _numbered(run / SNAPSHOTS)
    if not paths:
        raise InputError(
            f"{run} has no snapshots to make an average of. A run keeps them when it is started with "
            "--averages.lengths 0.05 0.1; those of fixed length can be had with --halflife"
        )
    end = max(paths) if at is None else at
    if not min(paths) <= end <= max(paths):
        raise InputError(f"{run} has snapshots from {min(paths):,} to {max(paths):,} pictures; {end:,} is not between")
    names: list[tuple[Path, str]] = []
    profiles: list[Profile] = []
    for seen, path in paths.items():
        for kept in _kinds(path):
            try:
                profiles.append(Profile(exponent(float(kept)), seen))
            except ValueError as error:
                raise InputError(f"{path} is no snapshot of averages: it holds {kept!r}. Remove it") from error
            names.append((path, kept))
    wanted = Profile(exponent(length), end)
    weights = combination(profiles, wanted)
    return end, _sum(names, weights.tolist()), distance(profiles, weights, wanted)


def average_of_halflife(run: Path, halflife: int) -> tuple[int, dict[str, Tensor]]:
    """The pictures seen, and a further average of the run, from its newest checkpoint.

    Raises `InputError` when the run keeps none of this half-life, has no checkpoint, or one that is damaged.
    """
    paths = entries(run / "checkpoints")
    if not paths:
        raise InputError(f"{run} has no checkpoint to take an average from")
    found = _read(paths[-1], f"{FURTHER}{of_halflife(halflife)}/")
    if not found:
        begin = FURTHER + of_halflife(0).removesuffix("0")
        known = sorted(int(kind.removeprefix(begin)) for kind in _kinds(paths[-1]) if kind.startswith(begin))
        raise InputError(
            f"{run} has no average of half-life {halflife}; it keeps {', '.join(map(str, known)) or 'no other'}. A run "
            "keeps those that it is started with: --averages.halflives"
        )
    return int(paths[-1].stem), found


def save_average(run: Path, out: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> ModelSpec:
    """Write a model folder like that of the run, with these weights. `facts` of the average go into its training facts.

    Raises `InputError` when the run has no model yet, or `out` holds something else.
    """
    folder = run / "model"
    spec = read_description(folder, "model.json", ModelSpec)
    autoencoder = None if spec.autoencoder is None else read_autoencoder(folder, spec.autoencoder).state_dict()
    parts = Parts(autoencoder, folder / TEXT if (folder / TEXT).is_dir() else None)
    kept = {key: value for key, value in spec.training.items() if key != "ema_halflife"}
    return save_folder(out, replace(spec, training={**kept, **facts}), tensors, "average", parts=parts)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with nullcontext() if path.is_dir() else safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError, DamagedError) as error:
        raise InputError(f"{path} cannot be read: {error}. Remove it, and the others are used.") from error


def _numbered(folder: Path) -> dict[int, Path]:
    """Files of a run that are named by the pictures seen, rising."""
    return {int(path.stem): path for path in sorted(folder.glob("[0-9]*.safetensors")) if path.stem.isdecimal()}


def _kinds(path: Path) -> list[str]:
    """What stands before the names of its tensors."""
    with _opened(path) as file:
        names = sharded.shapes(path) if path.is_dir() else file.keys()
    return sorted({name.partition("/")[0] for name in names})


def _read(path: Path, begin: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that."""
    with _opened(path) as file:
        if path.is_dir():
            return sharded.tensors(path, begin)
        names = [name for name in file.keys() if name.startswith(begin)]  # noqa: SIM118 (a file, not a dict)
        return {name.removeprefix(begin): file.get_tensor(name) for name in names}


def _sum(names: Sequence[tuple[Path, str]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Σ weight·average, summed in float64, one average in memory at a time."""
    total: dict[str, Tensor] = {}
    for (path, kept), weight in zip(names, weights, strict=True):
        terms = {name: weight * value.double() for name, value in _read(path, f"{kept}/").items()}
        if total and {n: t.shape for n, t in total.items()} != {n: t.shape for n, t in terms.items()}:
            raise InputError(f"{path} is a snapshot of another network. Remove it")
        total = {name: total[name] + term for name, term in terms.items()} if total else terms
    return {name: value.to(torch.float32) for name, value in total.items()}
