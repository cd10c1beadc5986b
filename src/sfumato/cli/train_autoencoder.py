"""`sfumato train-autoencoder`: the options are the fields of `TrainAutoencoderConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.cli.resume import stored_defaults
from sfumato.training.autoencoder_config import TrainAutoencoderConfig

__all__ = ["TrainAutoencoder"]


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoder(TrainAutoencoderConfig):
    """Train a KL autoencoder for latent diffusion. With --resume, options not given are those of the run's start."""

    defaults = staticmethod(stored_defaults)

    def run(self) -> None:
        """Train, and say where the autoencoder is and how well it does."""
        from sfumato.models.autoencoder import load_autoencoder_folder, reconstruction_table
        from sfumato.training.autoencoder import train_autoencoder

        folder = train_autoencoder(self)
        spec, _ = load_autoencoder_folder(folder)
        print("\n".join(reconstruction_table(spec.reconstruction)))
        print(f"autoencoder: {folder}, originals above reconstructions in {self.out / 'pairs.png'}")
