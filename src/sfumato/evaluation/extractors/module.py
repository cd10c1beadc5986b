"""Any PyTorch network as an extractor."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.errors import InputError, nearest
from sfumato.evaluation.extractors.batches import BATCH, in_batches
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.extractors.own import check_name, width_of
from sfumato.evaluation.extractors.preprocessing import Preprocessing

__all__ = ["module_extractor"]


def module_extractor(
    module: nn.Module,
    name: str,
    prepare: Preprocessing,
    layer: str | None = None,
    device: str = "cpu",
    batch: int = BATCH,
) -> Extractor:
    """What a network, or one of its layers, makes of each picture, flattened.

    It works on a copy in evaluation mode and float32: the module can go on being trained.

    Args:
        module: takes (N, 3, H, W) float32.
        name: of it, for "FD-name". Choose another one when its code changes, which weights and layers don't show.
        prepare: what it expects: size, mean and std.
        layer: whose output is taken, as in `module.named_modules()`; none: the module's own.
        device: where it works.
        batch: pictures at a time.

    Raises:
        InputError: for a name that is kept for another network, no such layer, or an output that is not finite numbers
            for each picture on its own.
    """
    check_name(name)
    network = copy.deepcopy(module).float().eval().requires_grad_(False).to(device)
    caught: list[Any] = []
    _found(network, layer).register_forward_hook(lambda _module, _inputs, output: caught.append(output))

    def embed(x: Tensor) -> Tensor:
        caught.clear()
        network(prepare(x))
        if not caught:
            raise InputError(f"{name} does not use its layer {layer!r}: choose another")
        output = caught[-1]
        if not isinstance(output, Tensor):
            raise InputError(f"{name} makes a {type(output).__name__}, not a tensor: choose a layer that does")
        return output

    features = in_batches(embed, device, batch)
    return Extractor(
        name=name,
        sha256=_checksum(network),
        preprocessing=str(prepare),
        width=width_of(features, prepare.size, name),
        features=features,
        settings=f"{layer or 'output'} of {module!r}",
    )


def _found(network: nn.Module, layer: str | None) -> nn.Module:
    layers = dict(network.named_modules())
    if (layer or "") not in layers:
        raise InputError(f"there is no layer {layer!r}. {nearest(layer, [known for known in layers if known])}")
    return layers[layer or ""]


def _checksum(network: nn.Module) -> str:
    """The sha256 of its tensors with their names and shapes."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
