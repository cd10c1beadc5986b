"""What a command that can go on with a run takes from that run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfumato.cli.options import take_option
from sfumato.training.config import stored_config

__all__ = ["resumes", "stored_defaults"]


def resumes(words: Sequence[str], file: Mapping[str, Any]) -> bool:
    """Whether a run is to go on."""
    return "--resume" in words or file.get("resume") is True


def stored_defaults(words: Sequence[str], file: Mapping[str, Any]) -> dict[str, Any]:
    """For --resume: the config stored in the run's folder. Otherwise nothing."""
    out = take_option(list(words), "--out") or file.get("out")
    return stored_config(Path(out)) if out and resumes(words, file) else {}
