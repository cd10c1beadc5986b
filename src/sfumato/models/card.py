"""The model card: README.md of a model folder, made from what `model.json` says and nothing else."""

from __future__ import annotations

import json

from sfumato.models.spec import ModelSpec

__all__ = ["model_card"]


def model_card(spec: ModelSpec) -> str:
    """Markdown for people: what it is, what it was made from, what it is for."""
    data, training, weights = spec.data, spec.training, spec.weights
    schedule = spec.schedule
    labels = [f"- {kind}: {', '.join(names)}" for kind, names in spec.labels.seen.items() if names]
    facts = [f"- {key.replace('_', ' ')}: {value}" for key, value in training.items() if value not in (None, "")]
    height, width = spec.size
    example = (spec.text.examples or ("a cat",))[0] if spec.text else ""
    asked = f", prompt={json.dumps(example, ensure_ascii=False)}" if spec.text else ""
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            f"A denoising diffusion model for {width}x{height} pictures with {spec.channels} channels"
            f"{', asked by prompts' if spec.text else ''}, made with [sfumato](https://pypi.org/project/sfumato/).",
            "",
            "## Use",
            "",
            "```python",
            "import sfumato as sf",
            "",
            'model = sf.load("path/to/this/folder")',
            f"images = model.sample(8, seed=7{asked})",
            "```",
            "",
            "## Model",
            "",
            f"- network: U-Net, {weights.parameters if weights else 0:,} parameters, "
            f"levels {list(spec.network.widths)}, patches of {spec.network.patch}",
            f"- prediction: {spec.prediction}",
            *_more(spec),
            f"- schedule: {schedule.name}, {schedule.steps} steps"
            + (", zero terminal SNR" if schedule.zero_terminal_snr else ""),
            f"- weights: {spec.which_weights}, stored as {weights.dtype if weights else 'nothing'}",
            *_latents(spec),
            *(["", "## Labels", "", *labels] if labels else []),
            *_texts(spec),
            "",
            "## Data",
            "",
            f"- {data.get('name', 'unknown')}: {data.get('count', 0):,} pictures",
            f"- source: {data.get('source') or 'not stated'}",
            f"- licence of the data: {data.get('licence') or 'not stated'}",
            f"- fingerprint: {data.get('fingerprint') or data.get('files_fingerprint', 'unknown')}",
            "",
            "## Training",
            "",
            *facts,
            "",
            "## Intended use and limits",
            "",
            "Pictures of the kind it was trained on, at the size it was trained at. What it makes is generated, not "
            "photographed, and should be marked as such wherever it is published. It knows nothing beyond its data, "
            "inherits its biases, and may reproduce training pictures closely, above all when the data is small.",
            "",
            "## Licence",
            "",
            f"Weights: {spec.licence}.",
            "",
        ]
    )


def _more(spec: ModelSpec) -> list[str]:
    """What not every model has."""
    lines = [] if spec.variance == "fixed" else [f"- learned variance of the reverse steps: {spec.variance}"]
    return [*lines, *(["- self-conditioning: it sees its own last guess"] if spec.self_conditioning else [])]


def _latents(spec: ModelSpec) -> list[str]:
    if spec.autoencoder is None:
        return []
    channels, height, width = spec.shape()
    return [f"- works on latents of {channels}x{height}x{width}, made by the autoencoder in this folder"]


def _texts(spec: ModelSpec) -> list[str]:
    text = spec.text
    if text is None:
        return []
    read = f"{len(text.words):,} words, those of its captions; others are left out, and told"
    return [
        "",
        "## Texts",
        "",
        f"- reader: {read if text.encoder == 'words' else f'{text.encoder}, frozen ({text.source})'}",
        f"- length: at most {text.length} tokens",
        *(["- such as: " + "; ".join(text.examples[:8])] if text.examples else []),
    ]
