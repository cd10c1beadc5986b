"""Short trainings that chose the recipe of the shipped model: same network, same pictures, same seeds, other recipe.

Run by `make evidence` (about 20 minutes on two cores); writes bench/results/recipes.json.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

import sfumato as sf
from sfumato.diffusion.config import ScheduleConfig
from sfumato.evaluation.extractors.efficientnet import efficientnet_lite0
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.names import metric_name
from sfumato.generation.request import Request
from sfumato.seeds import Stream, permutation

PICTURES, N = 20_000, 1_000
RECIPES = {
    "v, cosine, zero terminal SNR": {},
    "eps, linear (Ho et al. 2020)": {"prediction": "eps", "schedule": ScheduleConfig("linear", 1000, False)},
}


def main() -> None:
    data, extractor, results = sf.open_data("emoji"), efficientnet_lite0(), []
    order = permutation(len(data), 0, Stream.SPLIT)
    real, other = (extractor.features(data.images[rows]) for rows in (order[:N], order[N : 2 * N]))
    metric, floor = metric_name("FD", extractor.name), frechet_distance(other, real)
    for name, changes in RECIPES.items():
        with tempfile.TemporaryDirectory() as folder:
            base = sf.TrainConfig(
                data="emoji",
                out=Path(folder) / "run",
                pictures=PICTURES,
                batch=32,
                warmup=2_000,
                ema_halflife=2_000,
                network=sf.UNetConfig(channels=32, multipliers=(2, 3, 4), patch=2),
                sample_every=0,
                threads=1,
            )
            sf.train(replace(base, **changes), Console())
            model = sf.load(base.out)
            table, samples = model.table(Request()), model.make(Request(), N)
        distance = frechet_distance(extractor.features(samples.array), real)
        results.append({"recipe": name, "pictures": PICTURES, metric: round(distance, 1)})
        results[-1] |= {"floor": round(floor, 1), "n": N, "solver": table.name, "steps": table.steps}
        print(results[-1], flush=True)
    facts = {"command": "python bench/recipes.py", "torch": torch.__version__, "results": results}
    (Path(__file__).parent / "results" / "recipes.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
