"""Look through a folder of pictures before training: everything is decoded once, and what is off is listed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from sfumato.data.folder import METADATA, SUFFIXES, in_order, list_files, read_metadata, some_of
from sfumato.errors import InputError
from sfumato.images import MAX_PIXELS, TooManyPixelsError, opened, orientation, pixels, shown

__all__ = ["Report", "check_folder"]


@dataclass(frozen=True)
class Report:
    """What a folder of pictures holds. Files are named by their paths relative to the folder.

    Attributes:
        folder: the folder.
        pictures: number of pictures that can be decoded.
        formats: how many of them have which file format, the most frequent first.
        widths, heights: smallest, median and greatest, in pixels, upright; zeros without pictures.
        corrupt: (file, reason) of pictures, and of a metadata file, that cannot be read.
        huge: pictures beyond the pixel limit, which are not decoded.
        tiny: pictures with a side below the limit.
        duplicates: groups of pictures whose decoded pixels are equal. Near-duplicates are not searched.
        odd: oddity -> the pictures that have it; they are usable.
        others: files that are no pictures by their names.
    """

    folder: str
    pictures: int
    formats: dict[str, int] = field(default_factory=dict)
    widths: tuple[int, int, int] = (0, 0, 0)
    heights: tuple[int, int, int] = (0, 0, 0)
    corrupt: tuple[tuple[str, str], ...] = ()
    huge: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    odd: dict[str, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there are pictures and all of them can be used."""
        return self.pictures > 0 and not self.corrupt and not self.huge

    def text(self) -> str:
        """The report for people."""
        lines = [f"{self.folder}: {self.pictures} usable pictures"]
        if self.pictures:
            lines.append("formats: " + ", ".join(f"{name} {count}" for name, count in self.formats.items()))
            for title, (least, median, most) in (("width", self.widths), ("height", self.heights)):
                lines.append(f"{title}: {least} … {most} pixels, median {median}")
        groups = [
            ("cannot be read", [f"{name}: {reason}" for name, reason in self.corrupt]),
            ("have too many pixels", self.huge),
            ("are tiny", self.tiny),
            *self.odd.items(),
            ("are no pictures", self.others),
            ("groups of equal pictures", [_equal(group) for group in self.duplicates]),
        ]
        for title, names in groups:
            if names:
                lines += [f"{len(names)} {title}:", *some_of(names)]
        lines.append("Equal means equal decoded pixels; near-duplicates (resized, recompressed) are not searched.")
        lines.append("All is well." if self.ok else "Not all is well: mend or remove what cannot be used.")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Facts:
    format: str
    height: int
    width: int
    digest: str
    odd: tuple[str, ...]


def check_folder(path: Path | str, *, workers: int = 0, tiny: int = 16, huge: int = MAX_PIXELS) -> Report:
    """Decode every picture in a folder and its sub-folders once, and report.

    Args:
        workers: decoding threads, 0 for none; the report is the same.
        tiny: pictures with a side of fewer pixels are listed.
        huge: pictures with more pixels (width x height) are listed and not decoded.

    Raises:
        InputError: no such folder.
    """
    path = Path(path)
    files = list_files(path)
    names = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    corrupt: list[tuple[str, str]] = []
    try:
        metadata = read_metadata(path)
        listed = set(metadata.labels) if metadata else set()
    except InputError as error:
        listed = set()
        corrupt.append(("metadata", str(error)))
    candidates = listed.union(names)
    names = sorted(candidates)

    def examine(name: str) -> _Facts | InputError:
        try:
            return _examine(path / name, huge)
        except InputError as error:
            return error

    facts: dict[str, _Facts] = {}
    too_large: list[str] = []
    for name, result in zip(names, in_order(examine, names, workers), strict=True):
        if isinstance(result, _Facts):
            facts[shown(name)] = result
        elif isinstance(result, TooManyPixelsError):
            too_large.append(shown(name))
        else:
            corrupt.append((shown(name), str(result).removeprefix(f"{shown(path / name)}: ")))

    same: dict[str, list[str]] = {}
    odd: dict[str, list[str]] = {}
    for name, fact in facts.items():
        same.setdefault(fact.digest, []).append(name)
        for oddity in fact.odd:
            odd.setdefault(oddity, []).append(name)
    return Report(
        folder=shown(path),
        pictures=len(facts),
        formats=dict(Counter(fact.format for fact in facts.values()).most_common()),
        widths=_spread([fact.width for fact in facts.values()]),
        heights=_spread([fact.height for fact in facts.values()]),
        corrupt=tuple(corrupt),
        huge=tuple(too_large),
        tiny=tuple(name for name, fact in facts.items() if min(fact.width, fact.height) < tiny),
        duplicates=tuple(tuple(group) for group in same.values() if len(group) > 1),
        odd={oddity: tuple(odd[oddity]) for oddity in sorted(odd)},
        others=tuple(shown(name) for name in files if name not in candidates and name not in METADATA),
    )


def _examine(path: Path, huge: int) -> _Facts:
    with opened(path, max_pixels=huge) as image:
        # asked before decoding, which forgets how the file stores its samples
        stored = image.format or "unknown"
        grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
        odd = {
            "have several frames (the first is used)": getattr(image, "is_animated", False),
            "have 16 bits a sample": any(";16" in str(tile) for tile in getattr(image, "tile", ()))
            or image.mode.startswith("I"),
            "are CMYK": image.mode == "CMYK",
            "can be transparent (put on white)": image.has_transparency_data,
            "are stored rotated (EXIF; turned upright)": orientation(image) != 1,
        }
        array = pixels(image)
    height, width = array.shape[:2]
    odd["have one side more than 4 times the other"] = max(height, width) > 4 * min(height, width)
    odd["are grey but stored in colour"] = not grey and bool((array == array[:, :, :1]).all())
    digest = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
    return _Facts(stored, height, width, digest, tuple(title for title, true in odd.items() if true))


def _equal(group: tuple[str, ...], limit: int = 4) -> str:
    more = f" = … ({len(group)} in all)" if len(group) > limit else ""
    return " = ".join(group[:limit]) + more


def _spread(values: list[int]) -> tuple[int, int, int]:
    return (min(values), int(np.median(values)), max(values)) if values else (0, 0, 0)
