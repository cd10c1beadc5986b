"""Pictures a second that come out of the loader, beside those that a training learns from, by number of workers.

`python bench/loader.py` writes bench/results/loader.json; `python bench/loader.py cuda 0 4 8` trains on a GPU, with 0,
4 and 8 workers. Both sides are the trainer's own path: `Batches.ahead` (decoding, mirroring, noise, times) by itself,
and `sfumato.train`, which runs a network beside it. The pictures are made up: noise with the spectrum of photographs,
which JPEG compresses less well.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from rich.console import Console

from sfumato.data.folder import folder_source
from sfumato.data.framing import Framing
from sfumato.data.on_demand import OnDemand
from sfumato.data.pack import pack_source, read_pack
from sfumato.networks.config import UNetConfig
from sfumato.training.batches import Batches
from sfumato.training.config import TrainConfig
from sfumato.training.loop import train
from sfumato.training.steps import parts

SIDE, BATCH, ROUNDS = 64, 8, 3
SIZES = ((256, 192, 96), (1024, 768, 64), (4000, 3000, 32))  # width, height, how many pictures a round shows
NETWORK = UNetConfig(channels=32, multipliers=(2, 3, 4), patch=2)  # the shipped model's


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Noise whose amplitude falls with one over the frequency, as that of photographs does."""
    shape = (min(height, 768), min(width, 1024))
    down, right = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    fall = 1 / np.maximum(np.hypot(down, right), 1 / max(shape))
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.standard_normal((3, *shape))) * fall
    values = np.fft.irfft2(spectrum, shape)
    levels = np.clip(128 + 50 * values / values.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(levels).resize((width, height))


def loaded(data, count: int, workers: int) -> tuple[float, float]:
    """Pictures a second of the clock, and of a core's time, that come out of the loader by itself."""
    batches = Batches(data, 0)
    started, spent = time.perf_counter(), time.process_time()
    for batch in batches.ahead(parts(0, count, BATCH, 1), workers):
        assert batch.x0.shape == (BATCH, 3, SIDE, SIDE)
    return count / (time.perf_counter() - started), count / (time.process_time() - spent)


def learned(folder: Path, count: int, workers: int, device: str, **how) -> float:
    """Pictures a second that a training learns from, after its first step."""
    with tempfile.TemporaryDirectory() as out:
        config = TrainConfig(
            data=str(folder),
            out=Path(out),
            size=SIDE,
            pictures=count + BATCH,
            batch=BATCH,
            network=NETWORK,
            log_every=BATCH,
            checkpoint_every=10**9,
            sample_every=0,
            workers=workers,
            device=device,
            threads=1,
            **how,
        )
        train(config, Console(quiet=True))
        log = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    times = [entry["pictures"] / entry["rate"] for entry in log]  # since the beginning, in seconds
    return count / (times[-1] - times[0])


def measured(folder: Path, count: int, workers: list[int], device: str) -> dict[str, object]:
    """Medians over rounds; in each round every way comes once."""
    source = folder_source(folder)
    live, packed = OnDemand(source, Framing.of(SIDE)), folder.with_suffix(".safetensors")
    pack_source(source, packed, Framing.of(SIDE))
    rows: dict[str, list] = {}
    for _ in range(ROUNDS):
        for n in workers:
            rows.setdefault(f"loader {n}", []).append(loaded(live, count, n))
            rows.setdefault(f"training {n}", []).append(learned(folder, count, n, device, read="on-demand"))
        rows.setdefault("loader packed", []).append(loaded(read_pack(packed), count, 0))
        rows.setdefault("training packed", []).append(learned(packed, count, 0, device))
    names = [*map(str, workers), "packed"]
    return {
        "loader_per_s": {n: round(statistics.median(a for a, _ in rows[f"loader {n}"]), 1) for n in names},
        "loader_per_core_s": {n: round(statistics.median(b for _, b in rows[f"loader {n}"]), 1) for n in names},
        "training_per_s": {n: round(statistics.median(rows[f"training {n}"]), 1) for n in names},
    }


def main(device: str = "cpu", *counts: str) -> None:
    rows, load, workers = [], round(os.getloadavg()[0], 1), [int(n) for n in counts] or [0, 1, 2]
    for width, height, count in SIZES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "photographs"
            folder.mkdir()
            for i in range(2):
                photograph(width, height, i).save(folder / f"{i:04}.jpg", quality=90)
            for i in range(2, count):
                shutil.copy(folder / f"{i % 2:04}.jpg", folder / f"{i:04}.jpg")
            size = round((folder / "0000.jpg").stat().st_size / 1000)
            row = {"jpeg": f"{width}x{height}", "kilobytes": size, **measured(folder, count, workers, device)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    facts = {
        "command": " ".join(["python bench/loader.py", *sys.argv[1:]]),
        "what": f"pictures a second at {SIDE}x{SIDE}, batches of {BATCH}, by workers, decoded on demand, and from a "
        f"pack without workers; median of {ROUNDS} rounds. loader: batches by themselves, by the clock (which others "
        "at work slow down) and by a core's time (which they hardly do). training: the shipped model's network, one "
        "thread",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "load": [load, round(os.getloadavg()[0], 1)],
        "pillow": PIL.__version__,
        "torch": torch.__version__,
        "rows": rows,
    }
    (Path(__file__).parent / "results" / "loader.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
