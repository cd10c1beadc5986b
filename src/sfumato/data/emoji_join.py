"""What joins the emoji sets: code points. Names of icons -> code points -> captions, tags and groups of emojibase.

The sets, by the name of their drawing style, and the versions of all packages are pinned here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.data.npm import Package
from sfumato.errors import InputError
from sfumato.images import shown

__all__ = ["CAPTIONS", "FLUENT_3D", "GROUPS", "SETS", "Concept", "key", "match_icons", "read_concepts", "slugs"]

_NOTO, _FLUENT = "https://github.com/googlefonts/noto-emoji", "https://github.com/microsoft/fluentui-emoji"
SETS = {  # style -> its vector drawings
    "noto": Package(
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
        _NOTO,
    ),
    "noto-v1": Package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Apache-2.0",
        _NOTO,
    ),
    "fxemoji": Package(
        "@iconify-json/fxemoji",
        "1.2.2",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        "Apache-2.0",
        "https://github.com/mozilla/fxemoji",
    ),
    "fluent": Package(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        "MIT",
        _FLUENT,
    ),
    "fluent-flat": Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT",
        _FLUENT,
    ),
}
FLUENT_3D = Package(
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "MIT",
    _FLUENT,
)
CAPTIONS = Package(
    "emojibase-data",
    "17.0.0",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    "MIT",
    "https://github.com/milesj/emojibase",
)
GROUPS = {  # emojibase's group -> our label; "component" (skin tones, hair) is no picture of anything
    "smileys & emotion": "smileys",
    "people & body": "people",
    "animals & nature": "animals",
    "food & drink": "food",
    "travel & places": "travel",
    "activities": "activities",
    "objects": "objects",
    "symbols": "symbols",
    "flags": "flags",
}


@dataclass(frozen=True)
class Concept:
    """What a code point shows: its name, further words that are true of it, and one of the labels of `GROUPS`."""

    caption: str
    tags: tuple[str, ...]
    group: str


def key(hexcode: str) -> str:
    """A code point sequence without the variation selector, which the sets use inconsistently."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def slugs(captions: Mapping[str, str]) -> dict[str, str]:
    """Code point -> caption becomes slug of the caption -> code point, for sets that know their icons by name."""
    return {_slug(caption): code for code, caption in captions.items()}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def read_concepts(package: Path) -> dict[str, Concept]:
    """Code point -> `Concept`, for every emoji without skin variants that has a group of ours.

    Args:
        package: the unpacked `CAPTIONS`.

    Raises:
        InputError: a file is missing or has not the form it should have.
    """
    messages, entries = (_json(package / "en" / name) for name in ("messages.json", "data.json"))
    try:
        group_name = {group["order"]: group["message"] for group in messages["groups"]}
        concepts = {}
        for entry in entries:
            group = GROUPS.get(group_name.get(entry.get("group"), ""))
            if group is not None:
                concepts[key(entry["hexcode"])] = Concept(entry["label"], tuple(entry.get("tags", ())), group)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{shown(package)}: not the captions of {CAPTIONS.spec}, {error!r}") from error
    return concepts


def match_icons(
    package: Path, by_slug: Mapping[str, str], codes: Container[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The icons of a vector set, and code point -> name of its icon.

    An icon is matched by its name, else by an alias of it, through the captions and the set's own table of code
    points (`chars.json`, which some sets leave empty). The first icon of a code point counts.

    Args:
        package: one of `SETS`, unpacked.
        by_slug: what `slugs` makes of the captions.
        codes: the code points that are looked for in the set's own table.

    Raises:
        InputError: a file is missing or has not the form it should have.
    """
    icons, characters = _json(package / "icons.json"), package / "chars.json"
    try:
        by_slug = dict(by_slug)
        for code, name in (_json(characters) if characters.exists() else {}).items():
            if key(code) in codes:
                by_slug.setdefault(_slug(name), key(code))
        aliases: dict[str, list[str]] = {}
        for alias, value in icons.get("aliases", {}).items():
            aliases.setdefault(value["parent"], []).append(alias)
        found: dict[str, str] = {}
        for name in icons["icons"]:
            plain = name.replace("flag-for-flag-", "flag-").replace("flag-for-", "flag-")
            for candidate in (name, plain, *aliases.get(name, [])):
                code = by_slug.get(_slug(candidate))
                if code is not None:
                    found.setdefault(code, name)
                    break
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{shown(package)}: not a set of icons, {error!r}") from error
    return icons, found


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{shown(file)}: cannot be read as JSON, {error}") from error
