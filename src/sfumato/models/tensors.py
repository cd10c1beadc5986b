"""A safetensors file as a mapping that reads each tensor when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

__all__ = ["StoredTensors"]


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a file, on the CPU. Each is a memory map of its own: dropped with it, so that a walk over all of
    them needs no more memory than the largest.

    Raises:
        SafetensorError, OSError: when it is no whole safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, "pt") as file:
            self._names = dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._path, "pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def numbers(self) -> int:
        """How many numbers there are, by the file's header alone."""
        with safe_open(self._path, "pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in self._names)
