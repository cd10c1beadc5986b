"""The reader that a model needs."""

from __future__ import annotations

from pathlib import Path

import torch

from sfumato.conditioning.frozen import FrozenReader, check_encoder, encoder_folder
from sfumato.conditioning.text import Reader, TextSpec, WordReader
from sfumato.networks.turns import Turns

__all__ = ["open_reader"]


def open_reader(
    spec: TextSpec,
    folder: Path | None = None,
    device: torch.device | str | Turns = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Reader:
    """What reads texts for a model.

    Args:
        spec: how it reads.
        folder: of the model, which may hold the encoder; none where the network or a package has it.
        device, dtype: where a frozen encoder runs, and in which number type.

    Raises:
        InputError: when an encoder or its library is not there, or is another than the model was trained with.
    """
    if spec.encoder == "words":
        return WordReader(spec.vocabulary)
    inside = folder / "text" if folder is not None and (folder / "text").is_dir() else None
    where = encoder_folder(spec.encoder, inside)
    check_encoder(spec, where)
    return FrozenReader(spec, where, device, dtype)
