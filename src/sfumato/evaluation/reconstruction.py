"""What an autoencoder loses: PSNR, SSIM, FD-EffNetLite0 and KL of reconstructions, and a sheet to look at."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.evaluation.extractors.efficientnet import efficientnet_lite0
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.similarity import WINDOW, psnr, ssim
from sfumato.generation.autoencoder import LatentCodec
from sfumato.images import Images
from sfumato.models.autoencoder import Reconstruction
from sfumato.seeds import Stream, permutation

__all__ = ["MAX_PICTURES", "Features", "installed_features", "measure", "pairs", "reconstruct", "some"]

MAX_PICTURES = 2_000
Features = Callable[[np.ndarray], np.ndarray]


def some(data: Dataset, limit: int = MAX_PICTURES) -> np.ndarray:
    """At most `limit` of the pictures, drawn once and for all: uint8 (n, H, W, C)."""
    return data.images[np.sort(permutation(len(data), 0, Stream.SPLIT)[:limit])]


def reconstruct(codec: LatentCodec, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode the mode of q(z|x). Returns uint8 (N, H, W, C), and KL(q(z|x) ‖ N(0, 1)) in nats, (N,)."""
    made, kl = [], []
    for first in range(0, len(pictures), codec.batch):
        posterior = codec.posterior(pictures[first : first + codec.batch])
        kl.append(posterior.kl().double().numpy())
        made.append(codec.decode(codec.network.to_latents(posterior.mode)).array)
    return np.concatenate(made), np.concatenate(kl)


def measure(
    codec: LatentCodec, pictures: np.ndarray, which: str, features: Features | None = None
) -> tuple[Reconstruction, np.ndarray]:
    """Reconstruct pictures and compare.

    Args:
        codec: the autoencoder.
        pictures: uint8 (N, H, W, C).
        which: they are, for the report.
        features: for FD-EffNetLite0; none: it is left out.

    Returns:
        The report, and the reconstructions uint8 (N, H, W, C).
    """
    made, kl = reconstruct(codec, pictures)
    nats = float(kl.mean())
    report = Reconstruction(
        pictures=which,
        count=len(pictures),
        psnr=psnr(pictures, made),
        ssim=float(ssim(pictures, made).mean()) if min(pictures.shape[1:3]) >= WINDOW else None,
        fd=frechet_distance(features(made), features(pictures)) if features and len(pictures) > 1 else None,
        kl_nats=nats,
        kl_bits=nats / math.log(2),
    )
    return report, made


def installed_features(device: str) -> Features | None:
    """EfficientNet-lite0's features, where the extra is installed."""
    try:
        return efficientnet_lite0(device).features
    except InputError:
        return None


def pairs(originals: np.ndarray, made: np.ndarray, columns: int = 12, rows: int = 4) -> np.ndarray:
    """A sheet with originals above their reconstructions, `rows` times: uint8 (height, width, C)."""
    count = min(len(originals), columns * rows)
    columns = min(columns, count)
    lines = [
        part[first : first + columns]
        for first in range(0, count // columns * columns, columns)
        for part in (originals, made)
    ]
    return Images(np.concatenate(lines)).grid(columns)
