"""The pictures in the README: `python tools/readme_pictures.py`. Unselected: seeds 0 … 63 of the shipped model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import sfumato as sf
from sfumato.generation.provenance import MARK
from sfumato.generation.strip import steps_strip
from sfumato.images import Images, save_png
from sfumato.seeds import Stream, permutation

OUT, ZOOM = Path(__file__).parent.parent / "docs" / "images", 2


def zoomed(sheet: np.ndarray) -> np.ndarray:
    return sheet.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def main() -> None:
    model = sf.load("emoji")
    data = sf.open_data(str(model.spec.data["name"]))
    save_png(OUT / "samples.png", zoomed(model.sample(64, seed=0).grid()), MARK)
    save_png(OUT / "steps.png", zoomed(steps_strip(model, range(8))), MARK)
    real = data.images[permutation(len(data), 0, Stream.SPLIT)[:64]]
    save_png(OUT / "real.png", zoomed(Images(real).grid()))


if __name__ == "__main__":
    main()
