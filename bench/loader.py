"""Pictures a second that come out of the loader, on demand from JPEGs and from a pack, by number of workers.

`python bench/loader.py` writes bench/results/loader.json. To be held against the training pictures a second that
`python -m bench.speed` finds. The pictures are made up: noise with the spectrum of photographs, which JPEG compresses
less well.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from sfumato.data.folder import folder_source
from sfumato.data.framing import Framing
from sfumato.data.on_demand import OnDemand
from sfumato.data.order import Order
from sfumato.data.pack import pack_source, read_pack
from sfumato.data.workers import in_order

SIDE, BATCH, ROUNDS = 64, 8, 3
SIZES = ((256, 192, 128), (1024, 768, 32), (4000, 3000, 16))  # width, height, how many
WORKERS = (0, 1, 2)


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


def rate(data, workers: int) -> dict[str, float]:
    """Median pictures a second, of the clock and of a core's time, over rounds of all pictures in another order."""
    order, rates, core = Order(len(data), 0), [], []

    def batch(start: int) -> np.ndarray:
        numbers = range(start, start + BATCH)
        return data.take(order(numbers), numbers)[1]

    for number in range(ROUNDS):
        begin = number * len(data)
        started, spent = time.perf_counter(), time.process_time()
        for images in in_order(batch, range(begin, begin + len(data), BATCH), workers):
            assert images.shape == (BATCH, SIDE, SIDE, 3)
        rates.append(len(data) / (time.perf_counter() - started))
        core.append(len(data) / (time.process_time() - spent))
    return {"per_s": round(statistics.median(rates), 1), "per_core_s": round(statistics.median(core), 1)}


def main() -> None:
    rows, load = [], round(os.getloadavg()[0], 1)
    for width, height, count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(2):
                photograph(width, height, i).save(Path(folder) / f"{i:04}.jpg", quality=90)
            for i in range(2, count):
                shutil.copy(Path(folder) / f"{i % 2:04}.jpg", Path(folder) / f"{i:04}.jpg")
            source = folder_source(folder)
            pack_source(source, Path(folder) / "p.safetensors", Framing.of(SIDE))
            live, packed = OnDemand(source, Framing.of(SIDE)), read_pack(Path(folder) / "p.safetensors")
            rows.append(
                {
                    "jpeg": f"{width}x{height}",
                    "kilobytes": round(float(source.sizes.mean()) / 1000),
                    "on_demand": {str(workers): rate(live, workers) for workers in WORKERS},
                    "packed": rate(packed, 0),
                }
            )
            print(json.dumps(rows[-1]))
    facts = {
        "command": "python bench/loader.py",
        "what": f"pictures at {SIDE}x{SIDE}, batches of {BATCH}, by decoding threads; median of {ROUNDS} rounds: a "
        "second of the clock (which others at work slow down), and a second of a core's time (which they hardly do)",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": [load, round(os.getloadavg()[0], 1)],
        "pillow": PIL.__version__,
        "rows": rows,
    }
    (Path(__file__).parent / "results" / "loader.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
