"""Networks without numbers: the shapes of their weights alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["blank"]


@contextmanager
def blank() -> Iterator[None]:
    """Within it, networks are made on the meta device: of no memory, at once.

    Nothing is drawn (`torch.nn.init`): for the meta device torch does that in Python, and imports its compiler first,
    which takes seconds.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = kwargs or {}
        draws = getattr(func, "__module__", None) == "torch.nn.init"
        return given["tensor"] if draws else func(*args, **given)
