"""Build the emoji pack that ships inside the package: `python tools/build_emoji.py`.

Needs npm, and `pip install -e .[data]`.

Five vector emoji sets (Apache-2.0 or MIT) are fetched by name through npm, joined to emojibase's labels, tags and
groups, rendered at 4x and reduced to 32x32 on white. `sfumato.data` has the sets, the join and the rendering. The
result is `src/sfumato/assets/emoji/`:

* `sheet.webp`: every picture, lossless, 64 to a row, in the order of `emoji.json`;
* `emoji.json`: groups, styles, concepts (code point, caption, tags, group), the picture list [concept, style], and the
  sha256 of the decoded pixels;
* `LICENCES.md`: origin, version and licence of every set.

Running it twice gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from sfumato.data.emoji_join import CAPTIONS, GROUPS, SETS, match_icons, read_concepts, slugs
from sfumato.data.emoji_render import render

SIZE, COLUMNS = 32, 64


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the shipped emoji pack.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "src/sfumato/assets/emoji")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    pictures: list[np.ndarray] = []
    listing: list[list[int]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        concepts = read_concepts(CAPTIONS.get(folder))
        number = {code: i for i, code in enumerate(concepts)}
        by_slug = slugs({code: concept.caption for code, concept in concepts.items()})
        for style_number, (style, package) in enumerate(SETS.items()):
            icons, found = match_icons(package.get(folder), by_slug, concepts)
            before = len(pictures)
            for code in sorted(found, key=number.__getitem__):
                picture = render(icons, found[code], SIZE)
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
            [codes[old], concept.caption, list(concept.tags), groups.index(concept.group)]
            for old, concept in ((old, concepts[codes[old]]) for old in used)
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
        *(
            f"| {what} | `{package.name}` | {package.version} | {package.licence} | {package.origin} |"
            for what, package in (
                *((f"style `{style}`", package) for style, package in SETS.items()),
                ("captions, tags, groups", CAPTIONS),
            )
        ),
        "",
        "Copyright: Google LLC (noto, noto-v1), Mozilla Foundation (fxemoji), Microsoft Corporation (fluent,",
        "fluent-flat), Miles Johnson (emojibase). The licences: `Apache-2.0.txt` and `MIT.txt` beside this file.",
    ]
    (out / "LICENCES.md").write_text("\n".join(lines) + "\n")
    sizes = [(out / name).stat().st_size / 1e6 for name in ("sheet.webp", "emoji.json")]
    print(f"{len(stack)} pictures, {len(used)} concepts; sheet {sizes[0]:.2f} MB, index {sizes[1]:.2f} MB")


if __name__ == "__main__":
    main()
