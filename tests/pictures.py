"""Encoded pictures of one grey level each, and archives of them: the level tells them apart."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(level: int, size: tuple[int, int] = (12, 10), kind: str = "PNG") -> bytes:
    """A file of one grey level; `size` is (width, height)."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (level,) * 3).save(buffer, kind)
    return buffer.getvalue()


def levels(images: np.ndarray) -> list[int]:
    """The grey level in the middle of each picture."""
    _, height, width, _ = images.shape
    return images[:, height // 2, width // 2, 0].tolist()


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
