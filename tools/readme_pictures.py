"""The pictures in the README, unselected, of the shipped models: `tools/readme_pictures.py [samples | prompts]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import sfumato as sf
from sfumato.data.dataset import Dataset
from sfumato.generation.provenance import MARK
from sfumato.generation.strip import steps_strip
from sfumato.images import Images, save_png
from sfumato.seeds import Stream, permutation

OUT, ZOOM = Path(__file__).parent.parent / "docs" / "images", 2
COLUMNS, CELL, LINE, SEEN, HELD_OUT = 8, 128, 13, 32, 16


def zoomed(sheet: np.ndarray) -> np.ndarray:
    return sheet.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def samples() -> None:
    """Seeds 0 … 63 of `emoji`, noise becoming picture, and real ones."""
    model = sf.load("emoji")
    data = sf.open_data(str(model.spec.data["name"]))
    save_png(OUT / "samples.png", zoomed(model.sample(64, seed=0).grid()), MARK)
    save_png(OUT / "steps.png", zoomed(steps_strip(model, range(8))), MARK)
    real = data.images[permutation(len(data), 0, Stream.SPLIT)[:64]]
    save_png(OUT / "real.png", zoomed(Images(real).grid()))


def asked(data: Dataset, count: int) -> list[str]:
    """`count` captions with their styles, evenly spread over the data."""
    styles, column = data.kinds["style"], list(data.kinds).index("style")
    index = np.linspace(0, len(data) - 1, count).astype(int)
    return [f"{data.captions[i]}, {styles[data.labels[i, column]]} style" for i in index]


def prompts() -> None:
    """A page of prompts for each model that reads them."""
    page_of_prompts("emoji-text", OUT / "prompts.png")
    page_of_prompts("emoji-64", OUT / "prompts-64.png")


def page_of_prompts(source: str, path: Path) -> None:
    """Pairs of concept and style that training saw, then such as it never saw together."""
    model = sf.load(source)
    name, size = str(model.spec.data["name"]), model.spec.size[0]
    seen = asked(sf.open_data(name, size=size), SEEN)
    texts = seen + asked(sf.open_data(name.replace(":train", ":held-out"), size=size), HELD_OUT)
    images, font, lines = model.sample(prompt=texts, seed=0), ImageFont.load_default(11), 3
    height = CELL + lines * LINE + 8
    page = Image.new("RGB", (COLUMNS * (CELL + 8), -(-len(texts) // COLUMNS) * height + 20), "white")
    draw = ImageDraw.Draw(page)
    for i, text in enumerate(texts):
        below = 20 if i >= SEEN else 0  # a gap with a heading before what training never saw together
        x, y = (i % COLUMNS) * (CELL + 8), (i // COLUMNS) * height + below
        page.paste(Image.fromarray(images[i]).resize((CELL - 8, CELL - 8), Image.Resampling.LANCZOS), (x + 4, y + 4))
        for k, line in enumerate(wrapped(text, draw, font)[:lines]):
            draw.text((x + 4, y + CELL + k * LINE), line, "black", font)
    draw.text(
        (4, SEEN // COLUMNS * height + 2), "never seen together in training:", "black", ImageFont.load_default(13)
    )
    save_png(path, np.asarray(page), MARK)


def wrapped(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The text in lines that fit a cell."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font) <= CELL:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["samples", "prompts"]
    for page_of in (samples, prompts):
        if page_of.__name__ in wanted:
            page_of()
