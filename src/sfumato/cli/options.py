"""Options of a verb: the fields of a frozen dataclass. A TOML file (`--config FILE`) gives defaults, flags override."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from sfumato.errors import InputError
from sfumato.typed import build

__all__ = ["read_options", "take_option"]

Options = TypeVar("Options")


def read_options(kind: type[Options], prog: str, words: Sequence[str]) -> Options:
    """Parse `words` into a `kind`. `--help` prints and exits 0; what cannot be parsed is told and exits 2.

    A class may give further defaults, below those of the file, through a static method `defaults(words, file)`.
    """
    words = list(words)
    file = take_option(words, "--config")
    values = {} if file is None else _read_toml(Path(file))
    if hasattr(kind, "defaults"):
        values = _over(kind.defaults(words, values), values)  # type: ignore[attr-defined]
    if not values:
        return tyro.cli(kind, prog=prog, args=words)
    return tyro.cli(kind, prog=prog, args=words, default=build(kind, values, file or prog, missing=tyro.MISSING))


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where both say something the upper one; table by table, so that one key of a table leaves the others."""
    merged = dict(below)
    for key, value in above.items():
        name = key.replace("-", "_")
        under = merged.get(name)
        merged[name] = _over(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
    return merged


def take_option(words: list[str], option: str) -> str | None:
    """Remove an option and its value from `words`, `--name value` or `--name=value`; return the value."""
    for i, word in enumerate(words):
        if word.startswith(f"{option}="):
            return words.pop(i).partition("=")[2]
        if word == option:
            if i + 1 == len(words):
                raise InputError(f"{option} needs a value")
            return words.pop(i) and words.pop(i)
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"--config {path} is not TOML: {error}") from error
