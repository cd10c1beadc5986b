"""The shipped emoji pack: 6,501 pictures of 32x32 in five drawing styles, with captions, tags and groups.

Built by `tools/build_emoji.py` from vector sets under Apache-2.0 and MIT; `assets/emoji/LICENCES.md` names each.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from PIL import Image

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError, nearest

__all__ = ["emoji"]


def emoji(select: str | None = None) -> Dataset:
    """The pack, or a part of it.

    Args:
        select: group and style names, separated by commas: `"food"`, `"food,animals"`, `"smileys,noto"`. Several
            names of one kind are alternatives; groups and styles together both have to hold.

    Returns:
        A `Dataset` of 32x32 RGB pictures with the label kinds `group` and `style`. A caption is the concept's name.

    Raises:
        InputError: for an unknown name, or when the shipped file is damaged.
    """
    whole = _load()
    if select is None:
        return whole
    keep = np.ones(len(whole), bool)
    wanted: dict[str, set[int]] = {}
    for word in (part.strip() for part in select.split(",")):
        kind = next((kind for kind, names in whole.kinds.items() if word in names), None)
        if kind is None:
            known = [name for names in whole.kinds.values() for name in names]
            raise InputError(f"emoji/{select}: no group or style {word!r}. {nearest(word, known)}")
        wanted.setdefault(kind, set()).add(whole.kinds[kind].index(word))
    for column, kind in enumerate(whole.kinds):
        if kind in wanted:
            keep &= np.isin(whole.labels[:, column], list(wanted[kind]))
    if not keep.any():
        raise InputError(f"emoji/{select}: no picture has all of that.")
    return whole.subset(np.flatnonzero(keep), name=f"emoji/{select}")


@cache
def _load() -> Dataset:
    folder = files("sfumato") / "assets" / "emoji"
    index = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    size, listing = index["size"], np.asarray(index["pictures"], np.int64)  # (N, 2): concept, style
    with as_file(folder / "sheet.webp") as path, Image.open(path) as opened:
        sheet = np.asarray(opened.convert("RGB"))
    rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
    tiles = sheet.reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4).reshape(-1, size, size, 3)
    images = np.ascontiguousarray(tiles[: len(listing)])
    if hashlib.sha256(images.tobytes()).hexdigest() != index["sha256"]:
        raise InputError(f"{folder}: the emoji pictures do not match their checksum. Install sfumato again.")
    images.flags.writeable = False
    concept_group = np.asarray([concept[3] for concept in index["concepts"]], np.int64)
    return Dataset(
        name="emoji",
        images=images,
        labels=np.stack([concept_group[listing[:, 0]], listing[:, 1]], axis=1),
        kinds={"group": tuple(index["groups"]), "style": tuple(index["styles"])},
        captions=tuple(index["concepts"][concept][1] for concept in listing[:, 0]),
        source="Noto, Noto v1, FxEmojis, Fluent and Fluent flat emoji; captions from emojibase",
        licence="Apache-2.0 and MIT (assets/emoji/LICENCES.md)",
    )
