"""The pictures that an evaluation is of, on disk piece by piece: killed halfway, it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sfumato.errors import InputError
from sfumato.files import atomic_path, check_writable, write_text
from sfumato.generation.order import Order, Progress
from sfumato.solvers import Table

__all__ = ["FILE", "PIECE", "Samples", "check_out", "identity", "labels_rule", "make_samples"]

log = logging.getLogger("sfumato")

FILE = "samples.json"
FORMAT = 1
PIECE = 256  # pictures in a file; the most that an interruption costs


@dataclass(frozen=True, eq=False)
class Samples:
    """N pictures in a folder, of which few are in memory at a time.

    Attributes:
        folder: with `samples.json` and a file for each `PIECE` pictures.
        n: pictures.
        key: of all that they follow from.
    """

    folder: Path
    n: int
    key: str

    def __len__(self) -> int:
        return self.n

    def pieces(self) -> Iterator[np.ndarray]:
        """All of them in order, uint8 (at most PIECE, H, W, C) at a time.

        Raises `InputError` when a file was damaged or removed since it was made.
        """
        for first in range(0, self.n, PIECE):
            count = min(PIECE, self.n - first)
            found = _read(self.folder, first, self.key)
            if found is None or len(found) < count:
                raise InputError(f"{_path(self.folder, first)} is gone or damaged. Evaluate again: it is made anew")
            yield found[:count]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Some of them, by number and in that order: uint8 (len(numbers), H, W, C)."""
        numbers = np.asarray(numbers)
        taken: np.ndarray | None = None
        for piece, pictures in enumerate(self.pieces()):
            here = np.flatnonzero(numbers // PIECE == piece)
            taken = np.empty((len(numbers), *pictures.shape[1:]), np.uint8) if taken is None else taken
            taken[here] = pictures[numbers[here] - piece * PIECE]
        assert taken is not None  # there is at least one piece
        return taken


def identity(order: Order, table: Table) -> dict[str, Any]:
    """All that each picture follows from, besides its own seed: plain values, for people and for comparison."""
    spec, request = order.model.spec, order.request
    if spec.weights is None:
        raise InputError(f"model {spec.name!r} was never saved, so its weights have no name: save and load it first")
    facts = {
        "format": FORMAT,
        "model": spec.name,
        "weights_sha256": spec.weights.sha256,
        "files": dict(spec.files),
        "dtype": str(next(order.model.network.parameters()).dtype).removeprefix("torch."),
        "schedule": asdict(spec.schedule),
        "prediction": spec.prediction,
        "sigma_data": spec.sigma_data,
        "variance": spec.variance,
        "self_conditioning": spec.self_conditioning,
        "autoencoder": asdict(spec.autoencoder) if spec.autoencoder else None,
        "text": spec.text.sha256 if spec.text else None,
        "solver": table.name,
        "steps": table.steps,
        "spacing": table.spacing,
        "table": hashlib.sha256(table.to_json().encode()).hexdigest(),
        "size": list(request.size or spec.size),
        "clip": request.clip,
        "dynamic_threshold": request.dynamic_threshold,
        "guidance_scale": order.scale,
        "guidance": order.request.guidance.facts(),
        "labels": labels_rule(order),
        "first_seed": order.seeds[0],
    }
    return json.loads(json.dumps(facts))  # as it is read back


def labels_rule(order: Order) -> str:
    """How labels or prompts came about, in words."""
    text = order.model.spec.text
    if text is not None:
        return "prompts as in the training data" if text.examples else "no prompts"
    return "as in the training data" if order.model.spec.labels.kinds else "none"


def make_samples(order: Order, table: Table, folder: Path, *, batch: int = 64, progress: Progress = None) -> Samples:
    """Make the pictures of an order, but for those that are in the folder already.

    Args:
        order: what to make; the seeds count up from the first.
        table: the solver.
        folder: of these pictures alone. More of them can be asked for later: those that are there stay.
        batch: pictures at once.
        progress: called with the number of pictures that are there.

    Raises:
        InputError: where the folder holds pictures made otherwise (it says what differs), or something else, or
            cannot be written.
    """
    facts = identity(order, table)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    _check_folder(folder, facts)
    n = len(order.seeds)
    height, width = order.request.size or order.model.spec.size
    missing = PIECE * sum(not _path(folder, first).is_file() for first in range(0, n, PIECE))
    check_writable(folder, need_bytes=missing * height * width * order.model.spec.channels)
    write_text(folder / FILE, json.dumps(facts, indent=1) + "\n")
    for first in range(0, n, PIECE):
        part = slice(first, min(first + PIECE, n))
        there = _read(folder, first, key)
        done = 0 if there is None else len(there)
        if first + done < part.stop:
            left = slice(first + done, part.stop)
            some = replace(order, seeds=order.seeds[left], asked=order.asked[left])
            told = None if progress is None else lambda count, start=left.start: progress(start + count)
            made = some.made(table, batch=batch, progress=told)
            _write(folder, first, key, made if there is None else np.concatenate([there, made]))
        if progress:
            progress(part.stop)
    return Samples(folder, n, key)


def check_out(out: Path, *own: str) -> None:
    """Raise `InputError` where a folder holds something, but none of the sub-folders that would be `own`."""
    try:
        found = {entry.name for entry in out.iterdir() if not entry.name.startswith(".")}
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}. Choose another folder.") from error
    if found and not found & set(own):
        raise InputError(f"{out} holds something else ({', '.join(sorted(found)[:3])} …): choose another folder")


def _check_folder(folder: Path, facts: Mapping[str, Any]) -> None:
    path = folder / FILE
    if not path.is_file():
        return check_out(folder)
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): remove {folder}, or choose another folder") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} says nothing of samples: remove {folder}, or choose another folder")
    differing = [
        f"{name}: {_shown(found.get(name))} there, {_shown(facts.get(name))} asked for"
        for name in [*facts, *sorted(set(found) - set(facts))]
        if found.get(name) != facts.get(name)
    ]
    if differing:
        raise InputError(
            f"{folder} holds samples that were made otherwise, and they cannot be mixed. Choose another folder, or "
            "remove this one. What differs:\n  " + "\n  ".join(differing)
        )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _path(folder: Path, first: int) -> Path:
    return folder / f"{first:07d}.safetensors"


def _write(folder: Path, first: int, key: str, pictures: np.ndarray) -> None:
    pictures = np.ascontiguousarray(pictures)  # safetensors writes memory as it lies, whatever its strides
    about = {"key": key, "sha256": _sha256(pictures)}
    with atomic_path(_path(folder, first)) as temporary:
        save_file({"pictures": pictures}, temporary, metadata=about)


def _read(folder: Path, first: int, key: str) -> np.ndarray | None:
    """The pictures of one file, or nothing where there is none, or not what was written."""
    path = _path(folder, first)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about, pictures = file.metadata() or {}, file.get_tensor("pictures")
    except (SafetensorError, OSError, ValueError) as error:
        log.warning("%s is damaged (%s): its pictures are made anew", path, error)
        return None
    if about.get("key") != key or about.get("sha256") != _sha256(pictures) or pictures.ndim != 4:
        log.warning("%s is not what was written: its pictures are made anew", path)
        return None
    return pictures


def _sha256(pictures: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pictures).data).hexdigest()
