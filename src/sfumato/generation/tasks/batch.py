"""Pictures for every row of a file, which may be long and may be interrupted: what is done is never done again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfumato.conditioning.prompt import parse_prompt
from sfumato.errors import InputError, SfumatoError
from sfumato.files import check_writable, sha256_of
from sfumato.generation.asked import Asked
from sfumato.generation.asking import idle, label_set
from sfumato.generation.model import Model
from sfumato.generation.provenance import of_task
from sfumato.generation.request import Request
from sfumato.generation.tasks.jobs import Job
from sfumato.generation.tasks.manifest import Manifest
from sfumato.images import Images, save_png

__all__ = ["Report", "make_batch"]

WINDOW = 1_000  # rows that are looked at together, for pictures that can share network calls


@dataclass
class Report:
    """What came of a batch: numbers of pictures, and for each line of the file that failed, why."""

    made: int = 0
    skipped: int = 0
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Item:
    """One picture of a row."""

    job: Job
    k: int
    request: Request
    asked: Asked  # of this one
    key: str  # of all that it follows from

    @property
    def file(self) -> str:
        return self.job.file(self.k)


def make_batch(
    model: Model,
    jobs: Callable[[], Iterable[Job]],
    out: Path,
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make the pictures of all jobs, and `manifest.jsonl` with a line for each, written when its picture is.

    Pictures with equal settings share network calls; that changes none of them by more than a level of 255. A picture
    is skipped when the manifest has a line of its file, made of the same prompt, seed, settings and weights, and the
    file's hash is the one in that line. An error of one row is kept for the end; the others go on.

    Args:
        model: the model.
        jobs: gives all jobs, from the first: it is called twice, so that a mistake in any row shows before the first
            picture is made, and not all rows are kept in memory.
        out: folder for the pictures.
        batch: pictures at once.
        progress: is called with the number of pictures done, and of all.

    Raises:
        InputError: naming the line, for what the model cannot make, for two pictures of one name, and for files that
            are there without a manifest, which are not to be overwritten.
        OSError: when a picture cannot be written.
    """
    if batch < 1:
        raise InputError(f"batch must be at least 1, not {batch}")
    manifest, items = Manifest(out), _Items(model)
    total = _check(items, jobs, manifest)
    check_writable(out, need_bytes=0)
    manifest.mend()
    report, rows = Report(), iter(jobs())
    while window := list(islice(rows, WINDOW)):
        groups: dict[Request, list[Item]] = {}
        for item in (item for job in window for item in items.of(job)):
            if manifest.proves(item.file, item.key):
                report.skipped += 1
            else:
                groups.setdefault(item.request, []).append(item)
        for group in groups.values():
            for first in range(0, len(group), batch):
                for item, images, seconds in _attempted(model, group[first : first + batch], report):
                    _save(item, images, seconds, manifest)
                    report.made += 1
                    if progress:
                        progress(report.made + report.skipped, total)
    return report


def _check(items: _Items, jobs: Callable[[], Iterable[Job]], manifest: Manifest) -> int:
    """The number of pictures. What of the manifest is another picture by now is taken out of it."""
    files: set[str] = set()
    total = 0
    for job in jobs():
        for item in items.of(job):
            file = item.file
            if file.lower() in files:
                raise InputError(f"{job.where}: another row makes {file!r} too; give it another name")
            if not manifest.found and (manifest.folder / file).exists():
                raise InputError(f"{manifest.folder / file} is there already, and no manifest; choose another folder")
            if not manifest.proves(file, item.key):
                manifest.done.pop(file, None)
            files.add(file.lower())
            total += 1
    return total


class _Items:
    """The pictures of jobs, looked at as closely as can be without making them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.settings = lru_cache(256)(self._settings)

    def of(self, job: Job) -> list[Item]:
        """Raises `InputError`, naming the line, for what the model cannot make."""
        model, request = self.model, job.request
        try:
            if model.spec.text is not None:
                parse_prompt(job.prompt or "")
            asked = model.ask(job.seeds, job.label, job.prompt, request.guidance)
            if not job.own_scale and idle(model.spec, asked, request.guidance).all():
                request = replace(request, guidance_scale=None)  # one for all rows is for those that have a use for it
            settings = f"{self.settings(request)} {model.guidance_scale(request, asked)!r}"
        except InputError as error:
            raise InputError(f"{job.where}: {error}") from error
        items = []
        for k, seed in enumerate(job.seeds):
            one = asked[k : k + 1]
            facts = json.dumps([settings, seed, one.rows.tolist(), one.texts])
            items.append(Item(job, k, request, one, hashlib.sha256(facts.encode()).hexdigest()[:32]))
        return items

    def _settings(self, request: Request) -> str:
        """All that a picture follows from besides seed and condition."""
        spec, guidance = self.model.spec, request.guidance
        if spec.text is not None and guidance.negative is not None:
            parse_prompt(guidance.negative if isinstance(guidance.negative, str) else ", ".join(guidance.negative))
        spec.shape(request.size)
        weights = spec.weights.sha256 if spec.weights else None
        model = [weights, dict(spec.files), asdict(spec.schedule), spec.prediction, spec.text and spec.text.sha256]
        latent = asdict(spec.autoencoder) if spec.autoencoder else None
        facts = [self.model.table(request).to_json(), request.size, request.clip, request.dynamic_threshold]
        return json.dumps([model, latent, *facts, guidance.facts()])


def _attempted(model: Model, items: list[Item], report: Report) -> Iterator[tuple[Item, Images, float]]:
    """Each with its picture, and the seconds that it took. Where all together fail, each is tried alone."""
    started = time.perf_counter()
    try:
        images = _made(model, items)
    except (SfumatoError, torch.cuda.OutOfMemoryError) as error:
        if len(items) == 1:
            report.failed[items[0].job.line] = str(error)
        for item in items if len(items) > 1 else ():
            yield from _attempted(model, [item], report)
        return
    seconds = (time.perf_counter() - started) / len(items)
    for i, item in enumerate(items):
        yield item, images[i : i + 1], seconds


def _made(model: Model, items: list[Item]) -> Images:
    request = items[0].request
    labels = label_set(model.spec, request.guidance)
    return model.make(
        request,
        len(items),
        seed=[item.job.seeds[item.k] for item in items],
        label=np.concatenate([item.asked.rows for item in items]) if labels.kinds else None,
        prompt=[text for item in items for text in item.asked.texts] if model.spec.text else None,
        batch=len(items),
    )


def _save(item: Item, images: Images, seconds: float, manifest: Manifest) -> None:
    (text,) = of_task(images.metadata, "batch")
    path, told = manifest.folder / item.file, json.loads(text["sfumato"])
    save_png(path, images[0], text)
    solver = told["solver"]
    facts: dict[str, Any] = {
        "file": item.file,
        "line": item.job.line,
        "prompt": item.job.prompt,
        "label": told.get("label"),
        "negative": item.request.guidance.negative,
        "seed": told["seed"],
        "solver": solver["name"] if isinstance(solver, dict) else solver,
        "steps": told.get("steps", solver["steps"] if isinstance(solver, dict) else None),
        "guidance_scale": told["guidance_scale"],
        "size": told["size"],
        "seconds": round(seconds, 4),
        "sha256": sha256_of(path),
        "key": item.key,
    }
    manifest.add({name: value for name, value in facts.items() if value is not None})
