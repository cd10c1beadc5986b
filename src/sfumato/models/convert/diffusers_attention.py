"""Self-attention as diffusers stores it: query, key and value as linear layers, under names that changed once."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from sfumato.errors import InputError
from sfumato.models.convert.rules import Rule, layer, layers, matrix

__all__ = ["attention", "new_names"]

# before 0.12, still in most stored models
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_NAME = re.compile(rf"(.*\.attentions\.\d+)\.({'|'.join(OLD)})\.(weight|bias)")


def attention(ours: str, theirs: str) -> list[Rule]:
    """The rules of one, by the new names."""
    return [
        *layers(ours, theirs, {"norm": "group_norm"}),
        *layer(f"{ours}.qkv", [f"{theirs}.to_{c}" for c in "qkv"], matrix()),
        *layer(f"{ours}.out", f"{theirs}.to_out.0", matrix()),
    ]


def new_names(tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Tensors by their new names. Raises `InputError`, naming `what`, for one that is there by both."""
    result = {}
    for name, value in tensors.items():
        old = OLD_NAME.fullmatch(name)
        new = f"{old[1]}.{OLD[old[2]]}.{old[3]}" if old else name
        if new in result:
            raise InputError(f"{what}: {new} is there twice, by its old and by its new name")
        result[new] = value
    return result
