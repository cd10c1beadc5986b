"""Look through pictures before training: everything is decoded once, and what is off is listed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sfumato.data.folder import folder_metadata, list_files, source_of
from sfumato.data.source import Source, is_picture, some_of
from sfumato.data.workers import in_order
from sfumato.errors import InputError
from sfumato.images import MAX_PIXELS, TooManyPixelsError, orientation, pixels, shown

__all__ = ["Report", "check_folder", "check_source"]


@dataclass(frozen=True)
class Report:
    """What a source of pictures holds. Files are named by their paths relative to the folder, or within the archive.

    Attributes:
        folder: the folder, archive or table.
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
    """`check_source` of a folder and its sub-folders, whose metadata file may be broken.

    Raises:
        InputError: no such folder.
    """
    path = Path(path)
    files = list_files(path)
    try:
        metadata, broken = folder_metadata(path), ()
    except InputError as error:
        metadata, broken = None, (("metadata", str(error)),)
    if metadata is not None:  # pictures that it does not list are looked at too
        metadata.labels = {name: {} for name in files if is_picture(name)} | metadata.labels
    report = check_source(source_of(path, files, metadata), workers=workers, tiny=tiny, huge=huge)
    return replace(report, corrupt=broken + report.corrupt)


def check_source(source: Source, *, workers: int = 0, tiny: int = 16, huge: int = MAX_PIXELS) -> Report:
    """Decode every picture of a source once, and report.

    Args:
        workers: decoding threads, 0 for none; the report is the same.
        tiny: pictures with a side of fewer pixels are listed.
        huge: pictures with more pixels (width x height) are listed and not decoded.
    """

    def examine(i: int) -> _Facts | InputError:
        try:
            return _examine(source, i, huge)
        except InputError as error:
            return error

    facts: dict[str, _Facts] = {}
    too_large: list[str] = []
    corrupt: list[tuple[str, str]] = []
    for name, result in zip(map(shown, source.names), in_order(examine, range(len(source)), workers), strict=True):
        if isinstance(result, _Facts):
            facts[name] = result
        elif isinstance(result, TooManyPixelsError):
            too_large.append(name)
        else:
            corrupt.append((name, str(result)))

    same: dict[str, list[str]] = {}
    odd: dict[str, list[str]] = {}
    for name, fact in facts.items():
        same.setdefault(fact.digest, []).append(name)
        for oddity in fact.odd:
            odd.setdefault(oddity, []).append(name)
    return Report(
        folder=source.where,
        pictures=len(facts),
        formats=dict(Counter(fact.format for fact in facts.values()).most_common()),
        widths=_spread([fact.width for fact in facts.values()]),
        heights=_spread([fact.height for fact in facts.values()]),
        corrupt=tuple(corrupt),
        huge=tuple(too_large),
        tiny=tuple(name for name, fact in facts.items() if min(fact.width, fact.height) < tiny),
        duplicates=tuple(tuple(group) for group in same.values() if len(group) > 1),
        odd={oddity: tuple(odd[oddity]) for oddity in sorted(odd)},
        others=tuple(map(shown, source.others)),
    )


def _examine(source: Source, i: int, huge: int) -> _Facts:
    with source.opened(i, max_pixels=huge) as image:
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
