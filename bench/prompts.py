"""Do the text-to-image models draw what they are asked for? `make evidence-prompts`.

Asked for are pairs of a concept and a style ("red apple, noto style"): such as training saw, and such as it never saw
together. A picture is right when the nearest real picture, of all concepts but not of the very pair, is of its concept,
by the cosine of EfficientNet-lite0's features. Real pictures of the same pairs, asked the same, are the ceiling; chance
is the floor. Writes bench/results/prompts.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import sfumato as sf
from sfumato.data.dataset import Dataset
from sfumato.evaluation.extractors.efficientnet import efficientnet_lite0
from sfumato.evaluation.retrieval import retrieval
from sfumato.generation.request import Request

ROOT = Path(__file__).parent.parent
N = 200


def pairs(data: Dataset) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of each picture the number of its caption among all of `CONCEPTS`, its style, and how one asks for it."""
    style = list(data.kinds).index("style")
    names = data.kinds["style"]
    prompts = [f"{c}, {names[row[style]]} style" for c, row in zip(data.captions, data.labels, strict=True)]
    return np.array([CONCEPTS.index(c) for c in data.captions]), data.labels[:, style], prompts


def evenly(data: Dataset, count: int) -> Dataset:
    return data.subset(np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).astype(int)))


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else "emoji-text"
    model, extractor = sf.load(source), efficientnet_lite0()
    name = str(model.spec.data["name"])
    size = model.spec.size[0]
    train = sf.open_data(name, size=size)
    held_out = sf.open_data(name.replace(":train", ":held-out"), size=size)
    CONCEPTS = sorted({*train.captions, *held_out.captions})
    gallery = np.concatenate([extractor.features(train.images), extractor.features(held_out.images)])
    (seen, seen_style, _), (other, other_style, _) = pairs(train), pairs(held_out)
    shown, styles = np.concatenate([seen, other]), np.concatenate([seen_style, other_style])
    rows = {}
    for part, data in (("seen pairs", train), ("held-out pairs", held_out)):
        data = evenly(data, N)
        asked, style, prompts = pairs(data)
        barred = (asked[:, None] == shown) & (style[:, None] == styles)
        images = model.make(Request(), len(prompts), seed=0, prompt=prompts)
        for what, array in (("model", images.array), ("real", data.images)):
            rows[f"{part}, {what}"] = asdict(retrieval(extractor.features(array), asked, gallery, shown, barred))
            print(part, what, rows[f"{part}, {what}"], flush=True)
    sampling = {**asdict(model.spec.sampling), "seeds": "0 …"}
    path = ROOT / "bench" / "results" / "prompts.json"
    facts = json.loads(path.read_text()) if path.exists() else {"command": "make evidence-prompts", "models": {}}
    facts["models"][model.spec.name] = {"features": extractor.name, "sampling": sampling, "data": name, "rows": rows}
    path.write_text(json.dumps(facts, indent=1) + "\n")
