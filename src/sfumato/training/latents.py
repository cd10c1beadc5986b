"""What a latent model learns from: the pictures of a run, encoded once by its autoencoder and kept in its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sfumato.data.dataset import Dataset
from sfumato.files import atomic_path
from sfumato.models.folder import write_tensors
from sfumato.networks.autoencoder import Autoencoder, Posterior
from sfumato.scaling import to_unit
from sfumato.seeds import Stream, noise

__all__ = ["Latents"]


class Latents:
    """Draws of q(z|picture), shifted and scaled: a pure function of (seed, number of the picture in the run).

    Args:
        autoencoder: what encodes, on the device where it is to work.
        data: pictures; those of a run, encoded at its start and read from `path` when it goes on.
        path: where the posteriors are kept.
        key: what decides them besides the pictures: the autoencoder's weights, shift and scale.
        flip: whether mirrored pictures are encoded too.
        say: told when there is something to wait for.
    """

    def __init__(
        self, autoencoder: Autoencoder, data: Dataset, path: Path, key: str, flip: bool, say: Callable[[str], None]
    ) -> None:
        self.autoencoder, self.key = autoencoder, key
        key = f"{key} {data.fingerprint} {flip}"
        stored = _read(path, key)
        if stored is None:
            say(f"encoding {len(data):,} pictures with the autoencoder, once")
            stored = {"moments": _encode(autoencoder, data.images)}
            if flip:
                stored["mirrored"] = _encode(autoencoder, data.images[:, :, ::-1])
            with atomic_path(path) as temporary:
                write_tensors(stored, temporary, {"sfumato": key})
        self._moments = stored

    def draw(self, seed: int, numbers: Sequence[int], pictures: np.ndarray, mirrored: np.ndarray) -> Tensor:
        """(N, C, H, W) float32 of pictures of the data, of which some are mirrored, as numbers `numbers` of the run."""
        rows = [self._moments["mirrored" if m else "moments"][i] for i, m in zip(pictures, mirrored, strict=True)]
        posterior = Posterior.from_moments(torch.stack(rows))
        fresh = noise([(seed, n) for n in numbers], posterior.mean.shape[1:], Stream.LATENT)
        return self.autoencoder.to_latents(posterior.sample(fresh).to(self.device)).cpu()

    @property
    def device(self) -> torch.device:
        return next(self.autoencoder.parameters()).device


@torch.no_grad()
def _encode(autoencoder: Autoencoder, images: np.ndarray, batch: int = 16) -> Tensor:
    device = next(autoencoder.parameters()).device
    parts = [to_unit(images[i : i + batch]).to(device) for i in range(0, len(images), batch)]
    return torch.cat([autoencoder.moments(part).cpu() for part in parts]).contiguous()


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """What was kept, if it belongs to the same pictures and the same autoencoder."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("sfumato") != key:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError):
        return None  # encode again
