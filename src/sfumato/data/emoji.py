"""The shipped emoji pack: 6,501 pictures of 32x32 in five drawing styles, with captions, tags and groups.

Built by `tools/build_emoji.py` from vector sets under Apache-2.0 and MIT; `assets/emoji/LICENCES.md` names each.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from PIL import Image

from sfumato.data.dataset import Dataset
from sfumato.data.emoji_parts import part
from sfumato.errors import InputError

__all__ = ["codes", "emoji", "held_out"]

_FOLDER = files("sfumato") / "assets" / "emoji"
_TWINS = {"fluent-3d": "fluent"}


def emoji(select: str | None = None) -> Dataset:
    """The pack, or a part of it.

    Args:
        select: group and style names, separated by commas: `"food"`, `"food,animals"`, `"smileys,noto"`. Several
            names of one kind are alternatives; groups and styles together both have to hold. `":train"` or
            `":held-out"` after them leaves out, or leaves, a fixed twentieth: for every fifth concept that at least
            three styles draw, the picture in one of them. So a model can be asked for a concept that it knows in a
            style that it knows, but never saw together.

    Returns:
        A `Dataset` of 32x32 RGB pictures with the label kinds `group` and `style`. A caption is the concept's name.

    Raises:
        InputError: for an unknown name, or when the shipped file is damaged.
    """
    return part(*_load(), select)


def held_out(dataset: Dataset) -> np.ndarray:
    """Which pictures of another emoji set ":train" leaves out: those whose concept and style are held out in the pack.

    `fluent-3d` counts as `fluent`: it is the same drawing in another light, and would give it away.

    Args:
        dataset: its captions are emojibase's names, as in the pack, and it has the label kind `style`.

    Returns:
        (N,) bool.
    """
    pairs = set(_pairs(emoji(":held-out")))
    return np.asarray([(caption, _TWINS.get(style, style)) in pairs for caption, style in _pairs(dataset)])


def codes() -> tuple[str, ...]:
    """For each picture of the pack its code point sequence, without variation selectors."""
    index = _index()
    return tuple(index["concepts"][concept][0] for concept, _ in index["pictures"])


def _pairs(dataset: Dataset) -> list[tuple[str, str]]:
    """Of each picture the caption and the style."""
    styles, column = dataset.kinds["style"], list(dataset.kinds).index("style")
    return [(caption, styles[row[column]]) for caption, row in zip(dataset.captions, dataset.labels, strict=True)]


@cache
def _index() -> dict[str, Any]:
    return json.loads((_FOLDER / "emoji.json").read_text(encoding="utf-8"))


@cache
def _load() -> tuple[Dataset, np.ndarray]:
    """All pictures, and which of them are held out."""
    index = _index()
    size, listing = index["size"], np.asarray(index["pictures"], np.int64)  # (N, 2): concept, style
    with as_file(_FOLDER / "sheet.webp") as path, Image.open(path) as opened:
        sheet = np.asarray(opened.convert("RGB"))
    rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
    tiles = sheet.reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4).reshape(-1, size, size, 3)
    images = np.ascontiguousarray(tiles[: len(listing)])
    if hashlib.sha256(images.tobytes()).hexdigest() != index["sha256"]:
        raise InputError(f"{_FOLDER}: the emoji pictures do not match their checksum. Install sfumato again.")
    images.flags.writeable = False
    concept_group = np.asarray([concept[3] for concept in index["concepts"]], np.int64)
    dataset = Dataset(
        name="emoji",
        images=images,
        labels=np.stack([concept_group[listing[:, 0]], listing[:, 1]], axis=1),
        kinds={"group": tuple(index["groups"]), "style": tuple(index["styles"])},
        captions=tuple(index["concepts"][concept][1] for concept in listing[:, 0]),
        tags=tuple(tuple(index["concepts"][concept][2]) for concept in listing[:, 0]),
        source="Noto, Noto v1, FxEmojis, Fluent and Fluent flat emoji; captions from emojibase",
        licence="Apache-2.0 and MIT (assets/emoji/LICENCES.md)",
    )
    return dataset, _held_out([concept[0] for concept in index["concepts"]], listing)


def _held_out(codes: list[str], listing: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the pictures [concept, style] no training with ":train" sees. A function of the codes."""
    held_out = np.zeros(len(listing), bool)
    for concept, code in enumerate(codes):
        places = np.flatnonzero(listing[:, 0] == concept)
        number = int.from_bytes(hashlib.sha256(code.encode()).digest()[:8], "big")
        if len(places) >= 3 and number % 5 == 0:
            held_out[places[number // 5 % len(places)]] = True
    return held_out
