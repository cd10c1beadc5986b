"""Where the arithmetic happens, and in which number type."""

from __future__ import annotations

import torch

from sfumato.errors import InputError, nearest

__all__ = ["DTYPES", "find_device", "find_dtype"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def find_device(name: str) -> torch.device:
    """The device of that name; "auto": cuda if there is one, else cpu. `InputError` when it cannot be used here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def find_dtype(name: str) -> torch.dtype:
    """The number type of that name, for weights. `InputError` for another word."""
    if name not in DTYPES:
        raise InputError(f"no number type {name!r} for weights. {nearest(name, DTYPES)}")
    return DTYPES[name]
