"""Everything that decides the training of an autoencoder, as one frozen value. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sfumato.errors import InputError
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.training.options import RunOptions

__all__ = ["TrainAutoencoderConfig"]


def _small() -> AutoencoderConfig:
    return AutoencoderConfig(channels=32, multipliers=(1, 2, 2), blocks=1, mid_attention=False)


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoderConfig(RunOptions):
    """Training a KL autoencoder for latent diffusion. Its length is counted in pictures.

    The loss of a picture x, decoded as x̂, with D values and a latent of posterior q:
    (l1·Σ|x - x̂| + l2·Σ(x - x̂)²)/D + perceptual·distance(x, x̂) + kl_weight·KL(q)/D, plus what the discriminator says.
    With l1 alone that is D⁻¹ times the scale of a Laplace distribution, kl_weight, times the negative ELBO.
    """

    verb: ClassVar[str] = "train-autoencoder"

    batch: int = 16
    """pictures a step"""
    network: AutoencoderConfig = field(default_factory=_small)
    """its shape; latent_shift and latent_scale are measured at the end"""
    held_out: float = 0.1
    """share of the data kept back, to tell how well it does on pictures that it has not seen"""
    l1: float = 1.0
    """weight of the mean absolute error of a value in [-1, 1]"""
    l2: float = 0.0
    """weight of the mean squared error of a value in [-1, 1]"""
    perceptual: float = 0.0
    """weight of the distance of EfficientNet-lite0's feature maps; needs the extra `evaluation`"""
    kl_weight: float = 1e-6
    """weight of the KL to N(0, 1), in nats a value of the picture"""
    adversarial: float = 0.0
    """weight of the discriminator's word, beside the adaptive one; 0: no discriminator"""
    adversarial_start: int = 50_000
    """pictures after which the discriminator begins"""
    discriminator_channels: int = 32
    """base width of the discriminator"""
    discriminator_layers: int = 2
    """how often the discriminator halves the resolution"""
    log_every: int = 2_000
    """pictures between lines of log.jsonl"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._share_kept_back(self.held_out)
        self._not_negative("l1", "l2", "perceptual", "kl_weight", "adversarial", "adversarial_start")
        self._at_least_one("discriminator_channels", "discriminator_layers")
        if not self.l1 + self.l2 > 0:
            raise InputError("one of l1 and l2 must be above 0: else nothing says what a picture is to look like")
        fresh = AutoencoderConfig()
        if (self.network.latent_shift, self.network.latent_scale) != (fresh.latent_shift, fresh.latent_scale):
            raise InputError("latent_shift and latent_scale are measured when the training ends; leave them out")
        self.network.check_size(*self.picture_size)
        if self.adversarial and any(side % 2**self.discriminator_layers for side in self.picture_size):
            raise InputError(
                f"a discriminator that halves the resolution {self.discriminator_layers} times does not fit a size of "
                f"{self.size}: take fewer discriminator_layers"
            )
