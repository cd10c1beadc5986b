"""Put what an evaluation found of memorisation into the model's card.

python tools/memorisation_card.py evaluation/report.json src/sfumato/assets/models/emoji
"""

import sys
from pathlib import Path

from sfumato.errors import InputError
from sfumato.evaluation.memorisation import into_card
from sfumato.evaluation.report import Report
from sfumato.files import write_text
from sfumato.models.folder import read_description
from sfumato.models.spec import ModelSpec


def main(report: Path, folder: Path) -> None:
    """Write the card anew. Raises `InputError` for a report of another model, or that tells nothing of it."""
    found, spec = Report.load(report), read_description(folder, "model.json", ModelSpec)
    if spec.weights is None or found.method.making.weights_sha256 != spec.weights.sha256:
        raise InputError(f"{report} is of other weights than those in {folder}")
    if found.memorisation is None:
        raise InputError(f"{report} tells nothing of memorisation: the training pictures were not at hand")
    card = folder / "README.md"
    write_text(card, into_card(card.read_text("utf-8"), found.memorisation))
    print(card)


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except InputError as error:
        sys.exit(str(error))
