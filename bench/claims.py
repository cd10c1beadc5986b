"""The seed claims, measured on the shipped model and on a small one of Fashion-MNIST. `make evidence-claims`.

    train      the model of Fashion-MNIST anew, into runs/claims; that of bench/models is measured otherwise
    sample     pictures of both models by every solver, piece by piece into runs/claims: stopped, it goes on
    measure    Fréchet distances with intervals, and bits per dimension
    table      docs/claims.md

`python bench/claims.py PHASE …` runs some of these; without any, all but train. On one core of a 2-core AMD Zen 3,
sample takes about an hour and a half, measure half an hour. Guidance scale 1, so that a step is one network call.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import sfumato as sf
from claims_page import page
from sfumato.data.dataset import Dataset
from sfumato.evaluation.extractors.efficientnet import efficientnet_lite0
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.intervals import Interval, intervals
from sfumato.evaluation.likelihood import bits_per_dimension
from sfumato.evaluation.names import metric_name
from sfumato.evaluation.reference import reference_features
from sfumato.evaluation.samples import Samples, make_samples
from sfumato.files import write_text
from sfumato.generation.model import Model
from sfumato.generation.order import Order
from sfumato.generation.request import Request

ROOT = Path(__file__).parent.parent
WORK = ROOT / "runs" / "claims"
LOG = WORK / "log.json"
RESULTS = ROOT / "bench" / "results" / "claims.json"
PAGE = ROOT / "docs" / "claims.md"
FIRST_SEED = 5_000_000
LEVEL = 0.9
ANCESTRAL = "ddpm-1000"


@dataclass(frozen=True)
class Row:
    """A way to sample. Without a solver it is the model's default."""

    solver: str | None
    steps: int

    @property
    def name(self) -> str:
        return f"{self.solver or 'default'}-{self.steps}"

    @property
    def request(self) -> Request:
        return Request(self.steps, self.solver, "trailing" if self.solver else None, guidance_scale=1.0)


ROWS = [
    *(Row("ddim", steps) for steps in (10, 20, 50, 100, 1000)),
    *(Row(None, steps) for steps in (5, 10, 20, 50)),
    Row("ddpm", 1000),
]


@dataclass(frozen=True)
class Measured:
    """A model, and how much of it is measured.

    Attributes:
        model, data: what is sampled, and the real pictures that samples and bits are measured with.
        other: more real pictures, for comparison.
        about: what must be known of these pictures.
        n, long: pictures of each row, and of those of 1000 steps.
        chunk: pictures of a long row between two writes.
        bits, flow: pictures for the bound and for the flow.
    """

    model: str
    data: str
    other: str | None
    about: str
    n: int
    long: int
    chunk: int
    bits: int
    flow: int

    def pictures(self, row: Row) -> int:
        return self.long if row.steps == 1000 else self.n


MODELS = {
    "fashion-mnist": Measured(
        model=str(ROOT / "bench" / "models" / "fashion-mnist"),
        data="fashion-mnist/test",
        other="fashion-mnist",
        about="Training never saw these pictures.",
        n=5000,
        long=5000,
        chunk=250,
        bits=512,
        flow=256,
    ),
    "emoji": Measured(
        model="emoji",
        data="emoji/smileys,animals,food,noto,noto-v1,fluent,fluent-flat",
        other=None,
        about="It was trained on these pictures, all there are, so here they cost less than others would.",
        n=512,
        long=128,
        chunk=16,
        bits=128,
        flow=32,
    ),
}


def train() -> None:
    """The recipe of bench/models/fashion-mnist: 0.3 million weights, 10 million multiply-adds a call.

    That one was planned for 1.2 million pictures and cut to 440,000 on the way (its README says where), so this makes
    one like it, not the same.
    """
    sf.train(
        sf.TrainConfig(
            data="fashion-mnist",
            out=WORK / "fashion-mnist",
            size=28,
            pictures=440_000,
            batch=128,
            lr=2e-3,
            warmup=20_000,
            cooldown=0.3,
            checkpoint_every=100_000,
            sample_every=0,
            threads=1,
            network=sf.UNetConfig(
                channels=40, multipliers=(1,), attention_levels=(), head_channels=40, patch=4, groups=4
            ),
        )
    )


def sample() -> None:
    """Short rows first; then the long ones in turns, a chunk each, so that what is there can be compared."""
    short = [(name, row, of.n) for name, of in MODELS.items() for row in ROWS if row.steps < 1000]
    turns = [
        (turn, name, row, (turn + 1) * of.chunk)
        for name, of in MODELS.items()
        for row in ROWS
        if row.steps == 1000
        for turn in range(of.long // of.chunk)
    ]
    models = {name: sf.load(of.model) for name, of in MODELS.items()}
    for name, row, n in [*short, *(task for _, *task in sorted(turns, key=lambda task: task[0]))]:
        began = time.process_time()
        made(models[name], name, row, n)
        spent = time.process_time() - began
        log = read(LOG)
        before = log.get(f"{name}/{row.name}", {"pictures": 0, "cpu_seconds": 0})
        if n > before["pictures"]:  # else they were there
            log[f"{name}/{row.name}"] = {"pictures": n, "cpu_seconds": round(before["cpu_seconds"] + spent)}
            write_text(LOG, json.dumps(log, indent=1))
        print(f"{time.strftime('%H:%M:%S')}  {name}  {row.name}  {n} pictures  {spent:.0f} s", flush=True)


def made(model: Model, name: str, row: Row, n: int) -> Samples:
    """The pictures of a row, those that are missing being made."""
    order = Order.of(model, row.request, n, FIRST_SEED, None, None, drawn=True)
    return make_samples(order, model.table(row.request), WORK / name / row.name, batch=125)


def measure() -> None:
    """Everything about each model, written as it is found: of the long rows as many pictures as there are by now."""
    log = read(LOG)
    for name, of in MODELS.items():
        model, real = sf.load(of.model), sf.open_data(of.data)
        assert model.spec.weights is not None  # it was loaded
        made_so_far = {row: log[f"{name}/{row.name}"] for row in ROWS}
        facts = {
            "weights_sha256": model.spec.weights.sha256,
            "default": asdict(model.spec.sampling),
            "about": of.about,
            "made": {row.name: made for row, made in made_so_far.items()},
        }
        found: dict[str, dict] = {"model": facts}
        for n in sorted({of.n, min(made["pictures"] for made in made_so_far.values())}):
            rows = [row for row, made in made_so_far.items() if made["pictures"] >= n]
            found[f"distances at n = {n}"] = distances(model, name, real, rows, n)
            save(name, found)
        save(name, found | {"bits": bits(model, real, of)})


def distances(model: Model, name: str, real: Dataset, rows: list[Row], n: int) -> dict:
    """FD of every row to the real pictures, and by how much it is above that of 1000 ancestral steps.

    A draw takes half of the real pictures, and of the samples half of the seeds, the same ones of every row.
    """
    extractor, other = efficientnet_lite0(), MODELS[name].other
    sets = {row.name: pictures(made(model, name, row, n)) for row in rows}
    if other is not None:
        sets["real"] = sf.open_data(other).images[:n]
    features = {of: features_of(extractor, images) for of, images in sets.items()}
    reference = features_of(extractor, real.images)

    def statistics(seeds: np.ndarray, numbers: np.ndarray) -> dict[str, float]:
        found = {of: frechet_distance(rows_of[seeds], reference[numbers]) for of, rows_of in features.items()}
        if ANCESTRAL in found:
            found |= {f"{of} more": value - found[ANCESTRAL] for of, value in found.items() if of != ANCESTRAL}
        return found

    draws = 20 if n > 2000 else 200
    found = intervals(statistics, np.arange(n), np.arange(len(real)), level=LEVEL, draws=draws, progress=told(name, n))
    return {
        "metric": metric_name("FD", extractor.name),
        "extractor": extractor.key,
        "reference": f"all {len(real)} pictures of {real.name} ({real.fingerprint})",
        "seeds": [FIRST_SEED, FIRST_SEED + n - 1],
        "intervals": f"{LEVEL:.0%}, method 'half', {draws} draws",
        "rows": {
            of: {
                "fd": shown(found[of]),
                **({"more": shown(found[f"{of} more"])} if f"{of} more" in found else {}),
            }
            for of in sets
        },
    }


def pictures(of: Samples) -> np.ndarray:
    return np.concatenate(list(of.pieces()))


def features_of(extractor: Extractor, images: np.ndarray) -> np.ndarray:
    """(n, 1280), from the cache where they are there."""
    data = Dataset("pictures", images, np.zeros((len(images), 0), np.int64))
    return reference_features(extractor, data, np.arange(len(images)))


def bits(model: Model, data: Dataset, of: Measured) -> dict:
    """The bound by the sampler's steps, and the flow."""
    found = {
        f"{steps} steps": bits_per_dimension(model, data, of.bits, steps=steps, terms=min(steps, 100))
        for steps in (10, 20, 50, 100, 1000)
    }
    found["flow"] = bits_per_dimension(model, data, of.flow, method="flow")
    return {name: json.loads(likelihood.to_json()) for name, likelihood in found.items()}


def shown(interval: Interval) -> dict[str, float]:
    return {key: round(getattr(interval, key), 3) for key in ("value", "low", "high")}


def told(name: str, n: int) -> Callable[[int, int], None]:
    """Says from time to time how many draws are done."""

    def tell(done: int, of: int) -> None:
        if done % max(1, of // 10) == 0:
            print(f"{time.strftime('%H:%M:%S')}  {name}  n = {n}  {done} of {of} draws", flush=True)

    return tell


def table() -> None:
    """The page in the docs."""
    write_text(PAGE, page(read(RESULTS)))


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def save(name: str, found: dict) -> None:
    everything = read(RESULTS)
    everything |= {"command": "make evidence-claims", "threads": torch.get_num_threads()}
    everything["versions"] = {"sfumato": sf.__version__, "torch": torch.__version__, "numpy": np.__version__}
    everything.setdefault("models", {})[name] = found
    write_text(RESULTS, json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    print(f"{time.strftime('%H:%M:%S')}  {name}  {', '.join(found)}", flush=True)


PHASES = {"train": train, "sample": sample, "measure": measure, "table": table}

if __name__ == "__main__":
    for phase in sys.argv[1:] or list(PHASES)[1:]:
        PHASES[phase]()
