"""Where a model is: the name of a shipped one, a model folder, or a run that holds one."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from sfumato.errors import InputError, nearest

__all__ = ["ADAPTER", "find_folder", "shipped_names"]

ADAPTER = "adapter.safetensors"  # what a run leaves that learned a LoRA in the place of a model

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")  # owner/name, or owner/name@revision


def shipped_names() -> list[str]:
    """Names of the models inside the package."""
    return sorted(p.name for p in _assets().iterdir() if (p / "model.json").is_file()) if _assets().is_dir() else []


def find_folder(source: str | Path) -> Path:
    """The model folder that `source` means: a shipped name, a folder, or an id on the hub.

    Raises:
        InputError: when it is neither a shipped name nor a folder; when a run has no model yet, it says how to go on.
    """
    if isinstance(source, str) and source in shipped_names():
        return _assets() / source
    path = Path(source)
    if (path / "model.json").is_file():
        return path
    if (path / "model").is_dir():
        return path / "model"  # of a run; load_folder says when it is no model
    if (path / ADAPTER).is_file():
        raise InputError(
            f"the run in {path} learned an adapter, not a model. With the model that it began with: "
            f"sfumato sample MODEL --lora {path}"
        )
    if (path / "config.json").is_file():
        raise InputError(f"the run in {path} has no model yet. Go on with: sfumato train --out {path} --resume")
    if path.is_dir():
        return path  # load_folder says what is wrong with it
    if isinstance(source, str) and HUB_ID.fullmatch(source) and not path.parent.is_dir():
        from sfumato.models.hub import hub_folder  # only here: it needs what reads the folders of other libraries

        return hub_folder(source)
    raise InputError(
        f"no model {str(source)!r}: neither a folder nor a shipped name. {nearest(str(source), shipped_names())}"
    )


def _assets() -> Path:
    return Path(str(files("sfumato"))) / "assets" / "models"
