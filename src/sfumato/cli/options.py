"""Options of a verb: the fields of a frozen dataclass. A TOML file (`--config FILE`) gives defaults, flags override."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from sfumato.errors import InputError, nearest

__all__ = ["merged", "read_options"]

Options = TypeVar("Options")


def read_options(kind: type[Options], prog: str, words: Sequence[str]) -> Options:
    """Parse `words` into a `kind`. `--help` prints and exits 0; what cannot be parsed is told and exits 2.

    A class may give defaults that depend on the words through a static method `defaults(words) -> mapping`.
    """
    words, defaults = list(words), {}
    if "--config" in words:
        at = words.index("--config")
        if at + 1 >= len(words):
            raise InputError("--config needs the name of a TOML file")
        defaults = _read_toml(Path(words[at + 1]))
        del words[at : at + 2]
    if hasattr(kind, "defaults"):
        defaults = {**kind.defaults(words), **defaults}  # type: ignore[attr-defined]
    start = merged(kind, defaults) if defaults else None
    if start is None:
        return tyro.cli(kind, prog=prog, args=words)
    return tyro.cli(kind, prog=prog, args=words, default=start)


def merged(kind: type[Options], values: Mapping[str, Any], path: str = "") -> Options:
    """A `kind` from nested plain values; fields without a value keep their default, required ones stay open.

    Raises `InputError` for an unknown key, naming the nearest.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise InputError(f"no option {path}{key!r}. {nearest(name, fields)}")
        hint = hints[name]
        if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            value = merged(hint, value, f"{path}{name}.")  # type: ignore[arg-type]
        elif hint is Path or hint == (Path | None):
            value = None if value is None else Path(value)
        elif isinstance(value, list):
            value = tuple(value)
        given[name] = value
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            given[name] = tyro.MISSING
    return kind(**given)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path} is not TOML: {error}") from error
