"""`open_extractor`: the network that a word, or a word and a file, asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sfumato.devices import find_device
from sfumato.errors import InputError, nearest
from sfumato.evaluation.extractors.clip import clip
from sfumato.evaluation.extractors.dinov2 import dinov2
from sfumato.evaluation.extractors.efficientnet import efficientnet_lite0
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.extractors.inception import inception
from sfumato.evaluation.extractors.onnx import onnx_extractor

__all__ = ["DEFAULT", "open_extractor"]

DEFAULT = "efficientnet-lite0"
FROM_FILES: dict[str, tuple[str, Callable[[Path, str], Extractor]]] = {
    "inception": ("FILE", inception),
    "dinov2": ("FOLDER", dinov2),
    "clip": ("FOLDER", clip),
    "onnx": ("FILE", onnx_extractor),
}


def open_extractor(spec: str = DEFAULT, device: str = "cpu") -> Extractor:
    """The extractor that `spec` asks for.

    Args:
        spec: "efficientnet-lite0", "inception=FILE", "dinov2=FOLDER", "clip=FOLDER" or "onnx=FILE".
        device: where it works: "cpu", "cuda" …, "auto".

    Raises:
        InputError: for another word, a word without its file, a device that cannot be used, or what each extractor
            refuses.
    """
    word, _, place = spec.partition("=")
    where = str(find_device(device))
    if spec == DEFAULT:
        return efficientnet_lite0(where)
    if word in FROM_FILES:
        what, make = FROM_FILES[word]
        if not place:
            raise InputError(f"the extractor {word!r} needs a file or folder of yours: {word}={what}")
        return make(Path(place).expanduser(), where)
    forms = [DEFAULT, *(f"{name}={what}" for name, (what, _) in FROM_FILES.items())]
    raise InputError(f"there is no extractor {spec!r}. {nearest(word, forms)}")
