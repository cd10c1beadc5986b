"""Low-rank factors beside the frozen layers of a network (LoRA; Hu et al. 2022, section 4.1): W + (alpha/rank)·B·A."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sfumato.errors import InputError
from sfumato.networks.kernels.conv import Conv2d
from sfumato.networks.layers import Attention
from sfumato.networks.transformer import Transformer
from sfumato.networks.unet import UNet

__all__ = ["Factors", "Targets", "adapt", "adaptable"]

Targets = Literal["attention", "convolutions", "all"]
Layer = nn.Linear | nn.Conv2d
WAYS = ("down.", "middle.", "up.")  # between the entrance and the exit, which are too narrow to be worth it


class Factors(nn.Module):
    """(alpha/rank)·B·A of one layer. B begins as zeros, so that the layer begins as it was; A is normal.

    Of a convolution, A has its kernel, stride and border, and B is 1x1.

    Args:
        layer: what it stands beside.
        rank: of the change.
        alpha: its strength; with as much for each rank, runs of other ranks need no other learning rate.
    """

    def __init__(self, layer: Layer, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down: Layer
        self.up: Layer
        if isinstance(layer, nn.Linear):
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        else:
            kernel = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
            self.down = Conv2d(layer.in_channels, rank, **kernel, bias=False)  # type: ignore[arg-type]
            self.up = Conv2d(rank, layer.out_channels, 1, bias=False)
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        nn.init.normal_(self.down.weight, std=layer.weight[0].numel() ** -0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the output of the layer, for its input x."""
        return self.scale * self.up(self.down(x))


def adapt(network: UNet, rank: int, alpha: float, targets: Targets = "all") -> nn.ModuleDict:
    """Freeze a network and set `Factors` beside its layers: what it puts out is the same, until they learn.

    Args:
        network: changed in place. Its factors are parts of it too, so that they move with it.
        rank, alpha: of each change.
        targets: "attention": all layers of its attentions, to itself and to texts; "convolutions": those of its
            residual blocks and its changes of resolution; "all": both.

    Returns:
        The factors by the names of their layers, with _ for every dot. They draw from torch's generator.

    Raises:
        InputError: for a rank that a layer cannot have, by its name, or where no layer is meant.
    """
    if rank < 1:
        raise InputError(f"the rank of an adapter is at least 1, not {rank}")
    device = network.enter.weight.device
    network.requires_grad_(False)
    factors = nn.ModuleDict()
    for name, layer in adaptable(network, targets).items():
        rows, columns = len(layer.weight), layer.weight[0].numel()
        if rank > min(rows, columns):
            raise InputError(
                f"a rank of {rank} is more than {name} can have: its weights are a matrix of {rows}x{columns}, so at "
                f"most {min(rows, columns)}"
            )
        factors[name.replace(".", "_")] = layer.lora = Factors(layer, rank, alpha).to(device)
        layer.register_forward_hook(_add, with_kwargs=True)
    if not factors:
        raise InputError(f"this network has no layers to adapt among its {targets}")
    return factors


def adaptable(network: UNet, targets: Targets) -> dict[str, Layer]:
    """The layers that are meant, by name. Arguments as in `adapt`."""
    attentions = tuple(f"{n}." for n, part in network.named_modules() if isinstance(part, Attention | Transformer))
    found = {}
    for name, layer in network.named_modules():
        if name.startswith(WAYS) and isinstance(layer, nn.Linear | nn.Conv2d):
            kind = "attention" if name.startswith(attentions) else "convolutions"
            if targets in (kind, "all") and (kind == "attention" or isinstance(layer, nn.Conv2d)):
                found[name] = layer
    return found


def _add(layer: nn.Module, inputs: tuple[Tensor], named: dict[str, Tensor | None], output: Tensor) -> Tensor:
    """A hook: the layer's output with that of its factors."""
    x, beside = inputs[0], named.get("beside")
    return output + layer.get_submodule("lora")(x if beside is None else torch.cat([x, beside], dim=1))
