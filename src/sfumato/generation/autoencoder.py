"""`LatentCodec`: what `sfumato.load_autoencoder` returns. Pictures to latents and back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.devices import find_device
from sfumato.errors import InputError
from sfumato.images import Images
from sfumato.models.autoencoder import AutoencoderSpec, load_autoencoder_folder
from sfumato.networks.autoencoder import Autoencoder, Posterior
from sfumato.networks.tiling import OVERLAP, decode_tiled, encode_tiled
from sfumato.scaling import to_uint8

__all__ = ["LatentCodec", "load_autoencoder"]


class LatentCodec:
    """A trained autoencoder, ready for use. Make one with `sfumato.load_autoencoder`.

    Attributes:
        spec: everything `autoencoder.json` says.
        network: the autoencoder, in evaluation mode.
        tile: large pictures are worked on in tiles of so many latent positions (see `networks.tiling`); none: whole.
        batch: pictures at once, where there are no tiles.
    """

    def __init__(
        self,
        spec: AutoencoderSpec,
        network: Autoencoder,
        device: torch.device | str = "cpu",
        tile: int | None = None,
        batch: int = 16,
    ) -> None:
        self.spec, self.tile, self.batch = spec, tile, batch
        self.device = torch.device(device)
        self.network = network.to(self.device)

    @torch.no_grad()
    def posterior(self, pictures: np.ndarray) -> Posterior:
        """q(z|x) of pictures uint8 (N, H, W, C), on the CPU, not scaled.

        Raises:
            InputError: for pictures of another kind, or of a size that does not fit.
        """
        channels, array = self.spec.network.in_channels, np.asarray(pictures)
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != channels or not len(array):
            raise InputError(f"pictures must be uint8 (N, H, W, {channels}), not {array.dtype} {array.shape}")
        network = self.network
        encode = partial(encode_tiled, network, tile=self.tile, overlap=self._overlap) if self.tile else network.encode
        parts = []
        for first in range(0, len(array), self.batch):
            x = torch.from_numpy(np.array(array[first : first + self.batch])).to(self.device).permute(0, 3, 1, 2)
            parts.append(encode(x.float() / 127.5 - 1))
        means, spreads = ([getattr(p, name).cpu() for p in parts] for name in ("mean", "log_variance"))
        return Posterior(torch.cat(means), torch.cat(spreads))

    def encode(self, pictures: np.ndarray) -> Tensor:
        """Latents (N, latent_channels, H/factor, W/factor) of pictures uint8 (N, H, W, C), for a diffusion model.

        The mode of q(z|x), shifted and scaled. Errors as in `posterior`.
        """
        return self.network.to_latents(self.posterior(pictures).mode)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Images:
        """The pictures of latents (N, latent_channels, h, w), shifted and scaled as `encode` gives them.

        Raises:
            InputError: for latents with another number of channels.
        """
        network = self.network
        decode = partial(decode_tiled, network, tile=self.tile, overlap=self._overlap) if self.tile else network.decode
        parts = latents.to(self.device).split(self.batch)
        return Images(np.concatenate([to_uint8(decode(network.from_latents(part))) for part in parts]))

    @property
    def _overlap(self) -> int:
        return min(OVERLAP, (self.tile or 0) // 2)


def load_autoencoder(folder: str | Path, device: str = "cpu", tile: int | None = None) -> LatentCodec:
    """Load an autoencoder's folder, or that of the run that made it (`sfumato train-autoencoder`).

    Args:
        folder: where it is.
        device: cpu, cuda …, or auto.
        tile: as in `LatentCodec`.

    Raises:
        InputError: when it is none or cannot be understood; it says which file and why.
    """
    spec, network = load_autoencoder_folder(Path(folder))
    return LatentCodec(spec, network, find_device(device), tile)
