"""Where the arithmetic happens."""

from __future__ import annotations

import torch

from sfumato.errors import InputError

__all__ = ["find_device"]


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
