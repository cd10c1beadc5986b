"""Averages that are chosen after the training: a model folder from the snapshots, or a checkpoint, of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from sfumato.training.averages import FURTHER, SNAPSHOTS, of_halflife
from sfumato.training.averages_config import check_length
from sfumato.training.config import stored_config
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
    paths = {int(path.stem): path for path in sorted((run / SNAPSHOTS).glob("[0-9]*.safetensors"))}
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
        for kept in _lengths(path):
            names.append((path, kept))
            profiles.append(Profile(exponent(float(kept)), seen))
    wanted = Profile(exponent(length), end)
    weights = combination(profiles, wanted)
    return end, _sum(names, weights.tolist()), distance(profiles, weights, wanted)


def average_of_halflife(run: Path, halflife: int) -> tuple[int, dict[str, Tensor]]:
    """The pictures seen, and a further average of the run, from its newest checkpoint that can be read.

    Raises `InputError` when the run keeps none of this half-life, or has no checkpoint.
    """
    begin = f"{FURTHER}{of_halflife(halflife)}/"
    for path in sorted((run / "checkpoints").glob("[0-9]*.safetensors"), reverse=True):
        found = _read(path, begin)
        if found:
            return int(path.stem), found
    stored = stored_config(run).get("averages", {}).get("halflives", [])
    known = ", ".join(map(str, stored)) or "no other"
    raise InputError(f"{run} has no checkpoint with an average of half-life {halflife}; it keeps {known}")


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
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}. Remove it, and the others are used.") from error


def _lengths(path: Path) -> list[str]:
    with _opened(path) as file:
        return sorted({name.partition("/")[0] for name in file.keys()})  # noqa: SIM118 (a file, not a dict)


def _read(path: Path, begin: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that."""
    with _opened(path) as file:
        names = [name for name in file.keys() if name.startswith(begin)]  # noqa: SIM118 (a file, not a dict)
        return {name.removeprefix(begin): file.get_tensor(name) for name in names}


def _sum(names: Sequence[tuple[Path, str]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Σ weight·average, summed in float64, one average in memory at a time."""
    total: dict[str, Tensor] = {}
    for (path, kept), weight in zip(names, weights, strict=True):
        for name, value in _read(path, f"{kept}/").items():
            term = weight * value.double()
            total[name] = total[name] + term if name in total else term
    return {name: value.to(torch.float32) for name, value in total.items()}
