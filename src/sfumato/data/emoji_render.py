"""Vector icons become pictures: resvg draws them large, then they are reduced, on white.

The icons are verified before they get here. What they may contain is limited all the same: resvg 0.5 reads local
pictures that an SVG names, and groups nested a thousand deep crash the process.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

import numpy as np
from PIL import Image

from sfumato.errors import InputError

__all__ = ["MAX_SIZE", "render", "require_resvg"]

MAX_SIZE = 256
_OVERSAMPLE, _LARGEST_DRAWN = 4, 512  # pixels a side
_MOST_CHARACTERS, _MOST_DEPTH = 2_000_000, 50  # the sets have 406,000 and 6 at most


def require_resvg() -> None:
    """Prove that icons can be drawn here.

    Raises:
        InputError: resvg-py is not installed.
    """
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise InputError("drawing vector emoji needs an extra: pip install 'sfumato[data]'") from error


def render(icons: Mapping[str, Any], name: str, size: int) -> np.ndarray:
    """Draw one icon, four times as large where that is 512 pixels at most, and average.

    Args:
        icons: the content of a set's `icons.json`.
        name: of the icon.
        size: side of the picture, 1 … 256.

    Returns:
        uint8 (size, size, 3), on white.

    Raises:
        InputError: resvg-py is not installed, or the icon cannot be drawn or is refused: an external reference, a
            document type, more than 2,000,000 characters or 50 levels.
    """
    require_resvg()
    import resvg_py

    icon = icons["icons"][name]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    side = size * max(1, min(_OVERSAMPLE, _LARGEST_DRAWN // size))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" width="{side}" height="{side}">'
        f"{icon['body']}</svg>"
    )
    try:
        _check(svg)
        drawn = Image.open(
            io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True))
        )
    except ValueError as error:  # an InputError is one
        raise InputError(f"the icon {name!r} cannot be drawn: {error}") from error
    page = Image.new("RGBA", (side, side), "white")
    page.alpha_composite(drawn.convert("RGBA").resize((side, side)))
    return np.asarray(page.convert("RGB").resize((size, size), Image.Resampling.BOX))


def _check(svg: str) -> None:
    """Read the whole as XML, and refuse what no icon needs."""
    if len(svg) > _MOST_CHARACTERS:
        raise InputError(f"{len(svg):,} characters are more than {_MOST_CHARACTERS:,}")
    depth = 0

    def enter(_tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MOST_DEPTH:
            raise InputError(f"elements are nested more than {_MOST_DEPTH} deep")
        for attribute, value in attributes.items():
            if attribute.endswith("href") and not value.startswith("#"):
                raise InputError(f"it refers to {value[:60]!r}, outside of itself")

    def leave(_tag: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = enter, leave
    try:
        parser.Parse(svg, True)
    except expat.ExpatError as error:  # a document type inside of an element is one
        raise InputError(f"it is no XML, {error}") from error
