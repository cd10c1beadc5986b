"""Build the emoji pack that ships inside the package: `python tools/build_emoji.py`.

Needs npm, and `pip install resvg-py==0.5.0`.

Five vector emoji sets (Apache-2.0 or MIT) are fetched by name through npm, joined to emojibase's labels, tags and
groups, rendered at 4x and reduced to 32x32 on white. The result is `src/sfumato/assets/emoji/`:

* `sheet.webp`: every picture, lossless, 64 to a row, in the order of `emoji.json`;
* `emoji.json`: groups, styles, concepts (code point, caption, tags, group), the picture list [concept, style], and the
  sha256 of the decoded pixels;
* `LICENCES.md`: origin, version and licence of every set.

Running it twice gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

SETS = {  # style -> npm package, version, SPDX licence, origin
    "noto": ("@iconify-json/noto", "1.2.9", "Apache-2.0", "https://github.com/googlefonts/noto-emoji"),
    "noto-v1": ("@iconify-json/noto-v1", "1.2.5", "Apache-2.0", "https://github.com/googlefonts/noto-emoji"),
    "fxemoji": ("@iconify-json/fxemoji", "1.2.2", "Apache-2.0", "https://github.com/mozilla/fxemoji"),
    "fluent": ("@iconify-json/fluent-emoji", "1.2.7", "MIT", "https://github.com/microsoft/fluentui-emoji"),
    "fluent-flat": ("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "https://github.com/microsoft/fluentui-emoji"),
}
CAPTIONS = ("emojibase-data", "17.0.0", "MIT", "https://github.com/milesj/emojibase")
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
SIZE, OVERSAMPLE, COLUMNS = 32, 4, 64


def fetch(package: str, version: str, folder: Path) -> Path:
    """Download one npm package by name and version, unpack it, and return its folder."""
    done = subprocess.run(
        ["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, capture_output=True, text=True
    )
    target = folder / re.sub(r"\W+", "-", package)
    with tarfile.open(folder / done.stdout.strip()) as archive:
        archive.extractall(target, filter="data")
    return target / "package"


def key(hexcode: str) -> str:
    """A code point sequence without the variation selector, which the sets use inconsistently."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def read_concepts(package: Path) -> dict[str, dict]:
    """Code point -> caption, tags and group, for every emoji without skin variants that has a group of ours."""
    messages = json.loads((package / "en" / "messages.json").read_text())
    group_name = {group["order"]: group["message"] for group in messages["groups"]}
    concepts = {}
    for entry in json.loads((package / "en" / "data.json").read_text()):
        group = GROUPS.get(group_name.get(entry.get("group"), ""))
        if group is not None:
            tags = list(entry.get("tags", []))
            concepts[key(entry["hexcode"])] = {"caption": entry["label"], "tags": tags, "group": group}
    return concepts


def match_icons(package: Path, by_slug: dict[str, str], concepts: dict[str, dict]) -> tuple[dict, dict[str, str]]:
    """The set's icons and a map code point -> icon name; matched by name, by alias, or by the set's own code points."""
    icons = json.loads((package / "icons.json").read_text())
    by_slug = dict(by_slug)
    characters = package / "chars.json"
    for code, name in (json.loads(characters.read_text()) if characters.exists() else {}).items():
        if key(code) in concepts:
            by_slug.setdefault(slug(name), key(code))
    aliases: dict[str, list[str]] = {}
    for alias, value in icons.get("aliases", {}).items():
        aliases.setdefault(value["parent"], []).append(alias)
    found: dict[str, str] = {}
    for name in icons["icons"]:
        plain = name.replace("flag-for-flag-", "flag-").replace("flag-for-", "flag-")
        for candidate in (name, plain, *aliases.get(name, [])):
            code = by_slug.get(slug(candidate))
            if code is not None:
                found.setdefault(code, name)
                break
    return icons, found


def render(icons: dict, name: str) -> np.ndarray:
    """One icon as (32, 32, 3) uint8 on white."""
    icon = icons["icons"][name]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    pixels = SIZE * OVERSAMPLE
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" width="{pixels}" height="{pixels}">'
        f"{icon['body']}</svg>"
    )
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels))))
    page = Image.new("RGBA", (pixels, pixels), "white")
    page.alpha_composite(drawn.convert("RGBA").resize((pixels, pixels)))
    return np.asarray(page.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX))


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the shipped emoji pack.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "src/sfumato/assets/emoji")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    pictures: list[np.ndarray] = []
    listing: list[list[int]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        concepts = read_concepts(fetch(CAPTIONS[0], CAPTIONS[1], folder))
        number = {code: i for i, code in enumerate(concepts)}
        by_slug = {slug(concept["caption"]): code for code, concept in concepts.items()}
        for style_number, (style, (package, version, _, _)) in enumerate(SETS.items()):
            icons, found = match_icons(fetch(package, version, folder), by_slug, concepts)
            before = len(pictures)
            for code in sorted(found, key=number.__getitem__):
                picture = render(icons, found[code])
                if picture.min() > 250:  # nothing was drawn
                    print(f"blank: {style} {found[code]}", file=sys.stderr)
                    continue
                pictures.append(picture)
                listing.append([number[code], style_number])
            print(f"{style}: {len(pictures) - before} pictures")

    used = sorted({concept for concept, _ in listing})
    renumber = {old: new for new, old in enumerate(used)}
    codes = list(concepts)
    groups = list(GROUPS.values())
    stack = np.stack(pictures)
    index = {
        "size": SIZE,
        "groups": groups,
        "styles": list(SETS),
        "concepts": [
            [
                codes[old],
                concepts[codes[old]]["caption"],
                concepts[codes[old]]["tags"],
                groups.index(concepts[codes[old]]["group"]),
            ]
            for old in used
        ],
        "pictures": [[renumber[concept], style] for concept, style in listing],
        "sha256": hashlib.sha256(stack.tobytes()).hexdigest(),
    }
    rows = -(-len(stack) // COLUMNS)
    sheet = np.full((rows * COLUMNS, SIZE, SIZE, 3), 255, np.uint8)
    sheet[: len(stack)] = stack
    sheet = sheet.reshape(rows, COLUMNS, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4).reshape(rows * SIZE, COLUMNS * SIZE, 3)
    Image.fromarray(sheet).save(out / "sheet.webp", lossless=True, quality=100, method=6)
    (out / "emoji.json").write_text(json.dumps(index, ensure_ascii=False, separators=(",", ":")) + "\n")
    lines = [
        "# Origin and licences of the emoji pack",
        "",
        f"Built by `tools/build_emoji.py`: rendered at {SIZE}x{SIZE} on white; otherwise unchanged.",
        "",
        "| what | npm package | version | licence | origin |",
        "|---|---|---|---|---|",
        *(f"| style `{style}` | `{p}` | {v} | {lic} | {origin} |" for style, (p, v, lic, origin) in SETS.items()),
        "| captions, tags, groups | `{}` | {} | {} | {} |".format(*CAPTIONS),
        "",
        "Copyright: Google LLC (noto, noto-v1), Mozilla Foundation (fxemoji), Microsoft Corporation (fluent,",
        "fluent-flat), Miles Johnson (emojibase). The licences: `Apache-2.0.txt` and `MIT.txt` beside this file.",
    ]
    (out / "LICENCES.md").write_text("\n".join(lines) + "\n")
    sizes = [(out / name).stat().st_size / 1e6 for name in ("sheet.webp", "emoji.json")]
    print(f"{len(stack)} pictures, {len(used)} concepts; sheet {sizes[0]:.2f} MB, index {sizes[1]:.2f} MB")


if __name__ == "__main__":
    main()
