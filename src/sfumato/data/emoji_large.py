"""The emoji pack in large: its five vector styles drawn at up to 256 pixels, and Fluent 3D as a sixth."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.emoji import codes, emoji, held_out
from sfumato.data.emoji_join import CAPTIONS, FLUENT_3D, SETS, match_icons, slugs
from sfumato.data.emoji_parts import part
from sfumato.data.emoji_render import MAX_SIZE, render, require_resvg
from sfumato.data.fetch import kept
from sfumato.data.fluent_3d import fluent_3d
from sfumato.data.pack import verify_pack, write_pack
from sfumato.errors import InputError
from sfumato.files import cache_folder
from sfumato.images import fit

__all__ = ["COUNT", "DEFAULT_SIZE", "LICENCE", "assemble", "emoji_large"]

log = logging.getLogger(__name__)

COUNT, DEFAULT_SIZE, LICENCE = 8119, 64, "Apache-2.0 and MIT"
_LISTING_SHA256 = "bc13c1771ae1ed7e489d96019768acaa9be3b61f02ad923719bab57436deb6fc"
_UNPACKED = 400_000_000  # bytes; the archives and what they unpack to
_SOURCE = (
    f"Noto, Noto v1, FxEmojis, Fluent, Fluent flat and Fluent 3D emoji from npm's "
    f"{', '.join(package.spec for package in (*SETS.values(), FLUENT_3D))}; captions from {CAPTIONS.spec}"
)


def emoji_large(
    select: str | None = None, size: int = DEFAULT_SIZE, files: Path | None = None, cache: Path | None = None
) -> Dataset:
    """The concepts of the emoji pack in six styles, drawn at the asked size; fetched once (44 MB) and kept.

    Each size is drawn once, which takes minutes, and is a pack of its own in the cache. The fetched packages are
    verified by their sha256, and so are captions and labels. Pixels may differ in the last bit from machine to
    machine: the pack is verified by the hashes that were written with it.

    Args:
        select: groups, styles, and ":train" or ":held-out", as for `emoji`. The same pairs of concept and style are
            held out; and of the sixth style those concepts that are held out in `fluent`, the same drawing.
        size: side of the pictures in pixels, 1 … 256.
        files: a folder with the archives of all packages, under the names that `npm pack` gives them.
        cache: where packs are kept; see `sfumato.files.cache_folder`.

    Returns:
        A `Dataset` of RGB pictures with the pack's label kinds, captions and tags, in the pack's order, then the
        pictures of the style `fluent-3d`.

    Raises:
        InputError: an unknown part or size, no resvg-py, no way to fetch it, or other files than these versions of
            the packages.
    """
    if not 1 <= size <= MAX_SIZE:
        raise InputError(f"emoji-large is drawn at 1 … {MAX_SIZE} pixels, not {size}")
    pack = cache_folder(cache) / f"emoji-large-{size}.safetensors"
    need_bytes = _UNPACKED + 2 * COUNT * size * size * 3
    whole = kept(pack, partial(_open, pack, size), partial(_make, pack, size, files, cache), need_bytes)
    return part(whole, held_out(whole), select)


def _open(pack: Path, size: int) -> Dataset:
    dataset = _verified(verify_pack(pack))
    if dataset.source != _SOURCE or dataset.images.shape[1:] != (size, size, 3):
        raise InputError(f"it has pictures {dataset.images.shape} from other sources: {dataset.source}")
    return dataset


def _verified(dataset: Dataset) -> Dataset:
    """One hash over labels, class names, captions and tags."""
    listing = json.dumps([list(dataset.kinds.items()), dataset.labels.tolist(), dataset.text_fingerprint])
    found = hashlib.sha256(listing.encode()).hexdigest()
    if found != _LISTING_SHA256:
        raise InputError(
            f"these labels and captions are not emoji-large's (sha256 {found}, expected {_LISTING_SHA256})"
        )
    return dataset


def _make(pack: Path, size: int, files: Path | None, cache: Path | None, work: Path) -> None:
    require_resvg()  # before anything is fetched
    solid = fluent_3d(files=files, cache=cache)
    packages = {style: package.get(work, files) for style, package in SETS.items()}
    write_pack(_verified(assemble(packages, solid, size)), pack)


def assemble(packages: Mapping[str, Path], solid: Dataset, size: int) -> Dataset:
    """Draw every picture of the emoji pack anew, and add those of its concepts that `solid` has, reduced to `size`.

    Args:
        packages: for each style of the pack the unpacked package of its vector set.
        solid: pictures of at least that size with the pack's groups and one style of their own.
        size: side of the pictures in pixels.

    Raises:
        InputError: a set lacks an icon or has one that cannot be drawn.
    """
    small, code = emoji(), codes()
    by_slug = slugs(dict(zip(code, small.captions, strict=True)))
    styles = small.kinds["style"]
    also = np.flatnonzero(np.isin(solid.captions, small.captions))
    images = np.empty((len(small) + len(also), size, size, 3), np.uint8)
    for number, style in enumerate(styles):
        icons, found = match_icons(packages[style], by_slug, frozenset(code))
        places = np.flatnonzero(small.labels[:, 1] == number)
        log.info("drawing %d pictures of %s at %d pixels", len(places), style, size)
        for i in places:
            if code[i] not in found:
                raise InputError(f"{packages[style]}: the set has no icon for {small.captions[i]!r} ({code[i]})")
            images[i] = render(icons, found[code[i]], size)
    for i, picture in enumerate(also, len(small)):
        images[i] = fit(solid.images[picture], size)
    labels = solid.labels[also] + [0, len(styles)]
    return replace(
        small,
        name="emoji-large",
        images=images,
        labels=np.concatenate([small.labels, labels]),
        kinds={**small.kinds, "style": (*styles, *solid.kinds["style"])},
        captions=(*small.captions, *(solid.captions[i] for i in also)),
        tags=(*small.tags, *(solid.tags[i] for i in also)),
        source=_SOURCE,
        licence=LICENCE,
    )
