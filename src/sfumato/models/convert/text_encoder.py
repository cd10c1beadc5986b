"""The folder of a CLIP text encoder with its tokenizer, put together from what a foreign model has of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sfumato.errors import InputError
from sfumato.models.convert.checkpoint import read_component, read_json
from sfumato.models.folder import write_tensors
from sfumato.models.parts import ENCODER_FILES

__all__ = ["clip_from_folder", "clip_from_tensors"]

HEAD = 64  # width of an attention head in every CLIP text encoder
INNER = "text_model."


def clip_from_folder(encoder: Path, tokenizer: Path, out: Path, allow_pickle: bool = False) -> int:
    """The text encoder of a diffusers folder.

    Args:
        encoder: its text_encoder/.
        tokenizer: its tokenizer/.
        out: an empty folder, to be filled. Weights that need no change are linked.
        allow_pickle: as in `read_checkpoint`.

    Returns:
        The tokens of the longest text.

    Raises:
        InputError: for another kind of encoder, for missing or damaged files.
    """
    config = read_json(encoder / "config.json")
    kinds = config.get("architectures") or [config.get("model_type")]
    if kinds not in (["CLIPTextModel"], ["clip_text_model"]):
        raise InputError(f"{encoder}: its text encoder is {kinds}; only CLIPTextModel is known here")
    (out / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    whole = encoder / "model.safetensors"
    if whole.is_file():
        (out / whole.name).symlink_to(whole.resolve())
    else:
        write_tensors(read_component(encoder, "model", allow_pickle), out / whole.name)
    _link_tokenizer(tokenizer, out)
    return _length(config.get("max_position_embeddings", 77), encoder / "config.json")


def clip_from_tensors(tensors: Mapping[str, Tensor], tokenizer: Path, out: Path) -> int:
    """The text encoder of a single file: its config.json is read off the tensors. Arguments as in `clip_from_folder`.

    Args:
        tensors: as `split` gives them.
    """
    _link_tokenizer(tokenizer, out)

    def size(name: str, axis: int) -> int:
        if f"{INNER}{name}" not in tensors or tensors[f"{INNER}{name}"].ndim != 2:
            raise InputError(f"the text encoder has no matrix {INNER}{name}")
        return tensors[f"{INNER}{name}"].shape[axis]

    words, places = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
    layers = {name.split(".")[3] for name in tensors if name.startswith(f"{INNER}encoder.layers.")}
    config = {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": size(words, 0),
        "hidden_size": size(words, 1),
        "intermediate_size": size("encoder.layers.0.mlp.fc1.weight", 0),
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, size(words, 1) // HEAD),
        "max_position_embeddings": size(places, 0),
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,  # of these three nothing depends here; they are what Stable Diffusion 1's file says
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    (out / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    write_tensors({name: value.contiguous() for name, value in tensors.items()}, out / "model.safetensors")
    return size(places, 0)


def _link_tokenizer(tokenizer: Path, out: Path) -> None:
    files = [path for path in tokenizer.iterdir() if path.suffix in ENCODER_FILES] if tokenizer.is_dir() else []
    files = [path for path in files if path.name != "config.json" and path.suffix != ".safetensors"]
    if not {"vocab.json", "tokenizer.json"} & {path.name for path in files}:
        raise InputError(f"{tokenizer} holds no tokenizer: neither vocab.json with merges.txt, nor tokenizer.json")
    for path in files:
        (out / path.name).symlink_to(path.resolve())


def _length(value: object, where: Path) -> int:
    if type(value) is not int or value < 2:
        raise InputError(f"{where}: max_position_embeddings is {value!r}, not a number of tokens")
    return value
