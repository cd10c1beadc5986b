"""The model card: README.md of a model folder, made from what `model.json` says and nothing else."""

from __future__ import annotations

from sfumato.models.spec import ModelSpec

__all__ = ["model_card"]


def model_card(spec: ModelSpec) -> str:
    """Markdown for people: what it is, what it was made from, what it is for."""
    data, training, weights = spec.data, spec.training, spec.weights
    schedule = spec.schedule
    labels = [f"- {kind}: {', '.join(names)}" for kind, names in spec.labels.seen.items()]
    facts = [f"- {key.replace('_', ' ')}: {value}" for key, value in training.items() if value not in (None, "")]
    height, width = spec.size
    return "\n".join(
        [
            f"# {spec.name}",
            "",
            f"A denoising diffusion model for {width}x{height} pictures with {spec.network.in_channels} channels, made "
            "with [sfumato](https://pypi.org/project/sfumato/).",
            "",
            "## Use",
            "",
            "```python",
            "import sfumato as sf",
            "",
            'model = sf.load("path/to/this/folder")',
            "images = model.sample(8, seed=7)",
            "```",
            "",
            "## Model",
            "",
            f"- network: U-Net, {weights.parameters if weights else 0:,} parameters, "
            f"levels {list(spec.network.widths)}, patches of {spec.network.patch}",
            f"- prediction: {spec.prediction}",
            f"- schedule: {schedule.name}, {schedule.steps} steps"
            + (", zero terminal SNR" if schedule.zero_terminal_snr else ""),
            f"- weights: {spec.which_weights}, stored as {weights.dtype if weights else 'nothing'}",
            *(["", "## Labels", "", *labels] if labels else []),
            "",
            "## Data",
            "",
            f"- {data.get('name', 'unknown')}: {data.get('count', 0):,} pictures",
            f"- source: {data.get('source') or 'not stated'}",
            f"- licence of the data: {data.get('licence') or 'not stated'}",
            f"- fingerprint: {data.get('fingerprint', 'unknown')}",
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
