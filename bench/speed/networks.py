"""The same networks on both sides: their shapes, their weights, how much they compute and how far they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sfumato.models.convert.unet_diffusers import unet_from_diffusers
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet

if TYPE_CHECKING:
    from diffusers import UNet2DModel  # type: ignore

__all__ = ["NETWORKS", "STEPS", "WORST", "check", "difference", "our_config", "ours_of", "sizes", "their_network"]

STEPS = 1000
WORST = 2e-5  # difference of two float32 results, relative to the largest number


def _plain(side: int, widths: tuple[int, ...], attended: tuple[int, ...], blocks: int = 2) -> dict[str, Any]:
    """The config.json of a U-Net of Ho et al. 2020, as google/ddpm-cifar10-32 has it."""
    kinds = ["AttnDownBlock2D" if level in attended else "DownBlock2D" for level in range(len(widths))]
    return {
        "sample_size": side,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": widths,
        "layers_per_block": blocks,
        "down_block_types": kinds,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(kinds)],
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
    }


NETWORKS: dict[str, dict[str, Any]] = {
    "CIFAR-10": _plain(32, (128, 256, 256, 256), (1,)),
    "small": _plain(28, (64, 128, 128), (2,)),
    "tiny": _plain(8, (32, 64), (), blocks=1),
}
"""In diffusers' words: Ho's for CIFAR-10, what fits a first training, and one so small that all else shows."""


def their_network(name: str) -> UNet2DModel:
    """diffusers' network with random weights, always the same."""
    from diffusers import UNet2DModel  # type: ignore

    torch.manual_seed(0)
    return UNet2DModel(**NETWORKS[name]).eval()


def our_config(name: str) -> UNetConfig:
    """Our shape of the same network."""
    from sfumato.models.convert.diffusers_config import config_from_diffusers

    return config_from_diffusers({"_class_name": "UNet2DModel", **NETWORKS[name]}, STEPS)


def ours_of(theirs: UNet2DModel) -> UNet:
    """Our network with their weights."""
    return UNet.from_tensors(*in_our_names(theirs, theirs.state_dict()))


def in_our_names(theirs: UNet2DModel, tensors: Mapping[str, Tensor]) -> tuple[UNetConfig, dict[str, Tensor]]:
    """Weights of theirs, or their gradients, by the names that ours has for them."""
    return unet_from_diffusers({"_class_name": "UNet2DModel", **theirs.config}, tensors, STEPS)


def sizes(name: str) -> dict[str, dict[str, float]]:
    """Parameters of both sides, and multiply-adds of a forward pass for one picture (convolutions, matrix products).

    Counted on the meta device, where every convolution goes torch's way.
    """
    from diffusers import UNet2DModel  # type: ignore

    with torch.device("meta"):
        sides: dict[str, nn.Module] = {"sfumato": UNet(our_config(name)), "diffusers": UNet2DModel(**NETWORKS[name])}
        x, t = torch.empty(1, 3, *[NETWORKS[name]["sample_size"]] * 2), torch.ones(1)
    found = {}
    for side, network in sides.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x, t)
        parameters = sum(p.numel() for p in network.parameters())
        found[side] = {"parameters": parameters, "multiply_adds": counter.get_total_flops() // 2}
    return found


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def check(sides: Mapping[str, Callable[[], Tensor]]) -> dict[str, float]:
    """How far the results of all sides are from diffusers'. Stops when one is further than `WORST`."""
    expected = sides["diffusers"]()
    found = {name: difference(run(), expected) for name, run in sides.items() if name != "diffusers"}
    assert max(found.values()) <= WORST, f"the sides do not compute the same: {found}"
    return found
