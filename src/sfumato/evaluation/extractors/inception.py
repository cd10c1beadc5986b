"""Inception-v3's features from the standard file of its weights: those, and only those, of FID, KID and IS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.evaluation.extractors.batches import in_batches
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.extractors.inception_network import WIDTH, InceptionV3
from sfumato.evaluation.names import INCEPTION
from sfumato.files import sha256_of
from sfumato.models.convert.checkpoint import read_checkpoint

__all__ = ["inception", "resized_like_tensorflow"]

FILE = "pt_inception-2015-12-05-6726825d.pth"
SOURCE = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIDE = 299


def inception(file: Path, device: str = "cpu") -> Extractor:
    """The features (n, 2048) behind FID, and the probabilities behind IS (n, 1008).

    Args:
        file: pt_inception-2015-12-05-6726825d.pth, of pytorch-fid and torch-fidelity, under whatever name.
        device: where it works.

    Raises:
        InputError: for any other file: what is called FID must be FID.
    """
    if not file.is_file():
        raise InputError(f"{file}: there is no such file. Inception's weights are at {SOURCE}")
    found = sha256_of(file)
    if found != SHA256:
        raise InputError(
            f"{file} is not the file of weights that FID is defined by (sha256 {found}, expected {SHA256}). That is at "
            f"{SOURCE}"
        )
    network = InceptionV3.from_tensors(read_checkpoint(file, allow_pickle=True)).to(device)

    def embed(x: Tensor) -> Tensor:
        return network((resized_like_tensorflow(x, SIDE, SIDE) - 128) / 128)

    @torch.inference_mode()
    def probabilities(features: np.ndarray) -> np.ndarray:
        return network.probabilities(torch.from_numpy(features).to(device)).cpu().numpy()

    return Extractor(
        name=INCEPTION,
        sha256=found,
        preprocessing=f"bilinear to {SIDE}x{SIDE} as TensorFlow 1 does it, never antialiased, (x - 128)/128",
        width=WIDTH,
        features=in_batches(embed, device),
        probabilities=probabilities,
    )


def resized_like_tensorflow(x: Tensor, height: int, width: int) -> Tensor:
    """`tf.image.resize_bilinear` of TensorFlow 1, by which the FIDs of papers are made.

    Place i of n is read at i·size/n, without the half pixel that other libraries add, and without antialiasing.

    Args:
        x: (N, C, H, W).
        height, width: of the result, (N, C, height, width).
    """
    for axis, size in ((3, width), (2, height)):  # in this order its rounding is TensorFlow's
        at = torch.arange(size, dtype=torch.float32, device=x.device) * (x.shape[axis] / size)
        low = at.long()
        share = (at - low).reshape(-1, *[1] * (3 - axis))
        near = x.index_select(axis, low)
        x = near + (x.index_select(axis, (low + 1).clamp(max=x.shape[axis] - 1)) - near) * share
    return x
