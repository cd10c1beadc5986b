"""Training pictures a second, sampling seconds, sizes: of the shipped model's network on this machine.

Run by `make bench`; writes bench/results/speed.json.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

import sfumato as sf
from sfumato.models.shipped import find_folder

BATCH, STEPS, WARM, ROUNDS = 32, 40, 10, 5


def training_rate(network: sf.UNetConfig) -> float:
    """Pictures a second of the whole loop (data, noise, step, average), without its first steps."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        config = sf.TrainConfig(
            data="emoji",
            out=out,
            pictures=BATCH * (WARM + STEPS),
            batch=BATCH,
            network=network,
            log_every=BATCH * WARM,
            checkpoint_every=10**9,
            sample_every=0,
        )
        sf.train(config, Console(quiet=True))
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    times = [line["pictures"] / line["rate"] for line in lines]
    rates = [
        (b["pictures"] - a["pictures"]) / (u - t)
        for a, b, t, u in zip(lines[:-1], lines[1:], times[:-1], times[1:], strict=True)
    ]
    return statistics.median(rates)


def sampling_seconds(model: sf.Model, n: int, **how) -> float:
    """Median seconds for n pictures."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        model.sample(n, **how)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    model, folder = sf.load("emoji"), find_folder("emoji")
    facts = {
        "command": "make bench (bench/speed.py)",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "training_pictures_per_s": round(training_rate(model.network.config), 1),
        "sample_1_picture_20_steps_s": round(sampling_seconds(model, 1, steps=20), 3),
        "sample_16_pictures_20_steps_s": round(sampling_seconds(model, 16, steps=20), 2),
        "sample_16_pictures_20_steps_no_guidance_s": round(
            sampling_seconds(model, 16, steps=20, guidance_scale=1.0), 2
        ),
        "model_folder_mb": round(sum(p.stat().st_size for p in folder.iterdir()) / 1e6, 2),
    }
    print(json.dumps(facts, indent=1))
    (Path(__file__).parent / "results" / "speed.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
