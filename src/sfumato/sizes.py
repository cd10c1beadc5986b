"""Sizes of pictures as people write them: WIDTHxHEIGHT, or one number for a square. Imports nothing, to be quick."""

from __future__ import annotations

from sfumato.errors import InputError

__all__ = ["parse_size", "written"]


def parse_size(text: str, where: str = "size") -> tuple[int, int]:
    """(height, width) of WIDTHxHEIGHT, or of one number for both. `where` is what messages call it."""
    words = text.lower().replace("×", "x").split("x")
    if len(words) > 2 or not all(w.isascii() and w.isdigit() and len(w) <= 6 and int(w) for w in words):
        raise InputError(f"{where} {text[:40]!r}: write WIDTHxHEIGHT, such as 512x768, or one side, such as 512")
    return int(words[-1]), int(words[0])


def written(size: tuple[int, int]) -> str:
    """WIDTHxHEIGHT of (height, width)."""
    height, width = size
    return f"{width}x{height}"
