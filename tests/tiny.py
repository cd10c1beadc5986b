"""Tiny models of random weights that work on latents, see a mask, or hang on every word."""

from __future__ import annotations

from dataclasses import replace

from autoencoders import codec
from factory import NETWORK, model, network, spec, text_model
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


def attentive_model(**changes) -> Model:
    """As `text_model`, but texts change its pictures by more than a level."""
    made = text_model(**changes)
    for name, weights in made.network.named_parameters():
        if "cross_attention" in name or name.startswith("text."):
            weights.mul_(10)
    return made
