"""Tiny models of random weights that work on latents or see a mask."""

from __future__ import annotations

from dataclasses import replace

from autoencoders import codec
from factory import NETWORK, model, network, spec
from sfumato.generation.model import Model


def latent_model(**changes) -> Model:
    """A model whose 8x8 latents of 4 channels stand for pictures of 16x16."""
    base = {"name": "tiny latent", "network": replace(NETWORK, in_channels=4, labels=(2, 3)), "size": (16, 16)}
    description = spec(**{**base, "autoencoder": codec().spec.network, **changes})
    return Model(description, network(description), autoencoder=codec().network)


def latent_inpainter() -> Model:
    """As `latent_model`, with a network that also sees a mask and the latents of the picture without that part."""
    return latent_model(network=replace(NETWORK, in_channels=9, out_channels=4, labels=(2, 3)))


def inpainter() -> Model:
    """The same for pixels."""
    return model(network=replace(NETWORK, in_channels=7, out_channels=3, labels=(2, 3)))
