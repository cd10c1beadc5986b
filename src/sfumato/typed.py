"""Plain values from outside (JSON, TOML) into frozen dataclasses: every key must be known, every value of its type."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sfumato.errors import InputError, nearest

__all__ = ["build"]

Kind = TypeVar("Kind")
_ABSENT = object()


def build(kind: type[Kind], values: object, where: str, missing: Any = _ABSENT) -> Kind:
    """A dataclass from a mapping.

    Args:
        kind: the dataclass. Its fields may be numbers, texts, paths, Literals, optionals, tuples, mappings and further
            dataclasses.
        values: names (with - or _) to plain values; fields that are not named keep their default.
        where: what error messages begin with: a file, or an option's path.
        missing: put in the place of required fields that are not named; without it they are an error.

    Raises:
        InputError: naming the place, what was expected and what was found.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected a table of names and values, not {_shown(values)}")
    fields, hints, given = {f.name: f for f in dataclasses.fields(kind)}, get_type_hints(kind), {}  # type: ignore[arg-type]
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in fields:
            raise InputError(f"{where}: there is no {key!r}. {nearest(name, fields)}")
        given[name] = _value(value, hints[name], f"{where}: {name}")
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            if missing is _ABSENT:
                raise InputError(f"{where}: {name} is missing")
            given[name] = missing
    return kind(**given)


def _value(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        rest = [a for a in arguments if a is not type(None)]
        if len(rest) == 1 or type(value) in rest:
            return _value(value, rest[0] if len(rest) == 1 else type(value), where)
    if origin is Literal:
        if value in arguments and not isinstance(value, bool):
            return value
        raise InputError(f"{where} cannot be {_shown(value)}. {nearest(str(value), map(str, arguments))}")
    if origin is tuple and isinstance(value, list | tuple):
        if arguments[-1] is Ellipsis:
            return tuple(_value(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) == len(arguments):
            return tuple(_value(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, arguments, strict=True)))
    if origin not in (None, tuple, Literal) and isinstance(value, Mapping):
        return {_value(k, arguments[0], where): _value(v, arguments[1], f"{where}[{k!r}]") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    expected = getattr(hint, "__name__", None) if origin is None else str(hint)
    raise InputError(f"{where} must be of type {expected}, not {_shown(value)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
