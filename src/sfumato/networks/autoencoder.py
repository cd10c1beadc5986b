"""The KL autoencoder of latent diffusion: pictures to small latents and back.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.1 and appendix G; encoder
and decoder are those of Esser et al. 2021, "Taming transformers", table 7: residual blocks without a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.networks.autoencoder_config import AutoencoderConfig, Part
from sfumato.networks.layers import Attention, Downsample, ResBlock, Upsample, conv, group_norm
from sfumato.networks.weights import with_tensors

__all__ = ["Autoencoder", "Posterior"]

LOG_VARIANCE = (-30.0, 20.0)  # bounds, as everybody has them


@dataclass(frozen=True, eq=False)
class Posterior:
    """q(z|x): a Gaussian with independent coordinates for each picture.

    Attributes:
        mean, log_variance: (N, latent_channels, H/factor, W/factor).
    """

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def from_moments(cls, moments: Tensor) -> Posterior:
        """From what the encoder puts out: (N, 2·latent_channels, h, w), means first. Log-variances are bounded."""
        mean, log_variance = moments.chunk(2, dim=1)
        return cls(mean, log_variance.clamp(*LOG_VARIANCE))

    @property
    def mode(self) -> Tensor:
        """The likeliest latent: the mean."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std·noise, for standard normal noise of the mean's shape (Kingma & Welling 2014, section 2.4)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, 1)) in nats for each picture, (N,) (Kingma & Welling 2014, appendix B)."""
        each = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * each.sum((1, 2, 3))


class Autoencoder(nn.Module):
    """An encoder from pictures to distributions over latents, and a decoder from latents to pictures.

    Both work in the number type of the weights, and return that of what they are given.

    Args:
        config: its shape.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        latent, widths = config.latent_channels, config.widths
        self.encoder = nn.Sequential(
            OrderedDict(
                enter=conv(config.in_channels, config.channels),
                down=_layers(config, config.down_parts(), down=True),
                middle=_layers(config, config.middle_parts()),
                leave=_leave(config, widths[-1], 2 * latent),
            )
        )
        self.decoder = nn.Sequential(
            OrderedDict(
                enter=conv(latent, widths[-1]),
                middle=_layers(config, config.middle_parts()),
                up=_layers(config, config.up_parts()),
                leave=_leave(config, widths[0], config.in_channels),
            )
        )
        self.quant = conv(2 * latent, 2 * latent, size=1) if config.quant_conv else nn.Identity()
        self.post_quant = conv(latent, latent, size=1) if config.quant_conv else nn.Identity()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_tensors(
        cls, config: AutoencoderConfig, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
    ) -> Autoencoder:
        """A network with these weights, in evaluation mode, without gradients. Errors as in `with_tensors`."""
        return with_tensors(cls, config, tensors, dtype)

    @property
    def last_weight(self) -> nn.Parameter:
        """The weights of the decoder's last layer."""
        return self.get_parameter("decoder.leave.2.weight")

    @property
    def factor(self) -> int:
        """Side of the square of pixels that one position of the latent stands for."""
        return self.config.factor

    def moments(self, x: Tensor) -> Tensor:
        """Means, then log-variances without bounds, (N, 2·latent_channels, H/factor, W/factor), of x as in `encode`."""
        config = self.config
        if x.ndim != 4 or x.shape[1] != config.in_channels:
            raise InputError(f"this autoencoder takes pictures (N, {config.in_channels}, H, W), not {tuple(x.shape)}")
        config.check_size(x.shape[2], x.shape[3])
        return self.quant(self.encoder(self._own(x))).to(x.dtype)

    def encode(self, x: Tensor) -> Posterior:
        """q(z|x) for pictures x (N, in_channels, H, W) in [-1, 1], H and W multiples of `factor`.

        Raises:
            InputError: when a size or a channel count does not fit.
        """
        return Posterior.from_moments(self.moments(x))

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (N, in_channels, factor·h, factor·w), about in [-1, 1], of latents z (N, latent_channels, h, w).

        Raises:
            InputError: when z has another number of channels.
        """
        latent = self.config.latent_channels
        if z.ndim != 4 or z.shape[1] != latent:
            raise InputError(f"this autoencoder takes latents (N, {latent}, h, w), not {tuple(z.shape)}")
        return self.decoder(self.post_quant(self._own(z))).to(z.dtype)

    def to_latents(self, z: Tensor) -> Tensor:
        """(z - latent_shift)·latent_scale: what a diffusion model is given, of mean 0 and variance 1."""
        shift, scale = self._affine(z)
        return (z - shift) * scale

    def from_latents(self, latents: Tensor) -> Tensor:
        """The inverse of `to_latents`: what `decode` takes."""
        shift, scale = self._affine(latents)
        return latents / scale + shift

    def _own(self, x: Tensor) -> Tensor:
        return x.to(self.last_weight.dtype).contiguous(memory_format=torch.channels_last)

    def _affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        values = (self.config.latent_shift, self.config.latent_scale)
        shift, scale = (torch.tensor(v, dtype=like.dtype, device=like.device)[:, None, None] for v in values)
        return shift, scale


def _layers(config: AutoencoderConfig, parts: Sequence[Part], down: bool = False) -> nn.Sequential:
    def layer(part: Part) -> nn.Module:
        if part.kind == "block":
            return ResBlock(part.channels_in, part.channels_out, None, groups=config.groups)
        if part.kind == "attention":
            return Attention(part.channels_in, groups=config.groups, heads=1)
        return Downsample(part.channels_in, padding="end") if down else Upsample(part.channels_in)

    return nn.Sequential(*map(layer, parts))


def _leave(config: AutoencoderConfig, width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        group_norm(width, config.groups, silu=True),
        nn.Identity(),  # files know the convolution as number 2
        conv(width, channels),
    )
