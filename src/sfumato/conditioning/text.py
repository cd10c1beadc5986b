"""How a model reads texts: what is stored of that, and the reader that makes conditions of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from sfumato.conditioning.prompt import Span, parse_prompt
from sfumato.conditioning.words import Vocabulary
from sfumato.errors import InputError, nearest
from sfumato.networks.condition import Condition
from sfumato.seeds import Stream, generator

__all__ = ["ENCODERS", "EncoderName", "Reader", "Reading", "TextSpec", "WordReader", "weighted"]

EncoderName = Literal["words", "minilm", "clip", "t5"]
ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)


@dataclass(frozen=True)
class TextSpec:
    """What a model knows of texts.

    Attributes:
        encoder: "words": a vocabulary, read by a part of the network. "minilm", "clip", "t5": a frozen encoder whose
            hidden states the network looks at.
        length: tokens of the longest text.
        words: the vocabulary.
        dropout: chance with which training left the text out; 0 means that there is no guidance away from none.
        examples: captions from the training data, asked for where no prompt is given.
        source: where a frozen encoder comes from: a package, or a folder inside the model's.
        sha256: of its weights.
    """

    encoder: EncoderName
    length: int
    words: tuple[str, ...] = ()
    dropout: float = 0.0
    examples: tuple[str, ...] = ()
    source: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise InputError(f"text: no encoder {self.encoder!r}. {nearest(self.encoder, ENCODERS)}")
        if self.length < 2:
            raise InputError(f"text: a length of {self.length} leaves no room for a word")
        if (self.encoder == "words") != bool(self.words):
            raise InputError(f"text: encoder {self.encoder!r} with a vocabulary of {len(self.words)} words")
        if len(set(self.words)) < len(self.words) or "" in self.words:
            raise InputError("text: the words of a vocabulary must differ and not be empty")
        if not 0 <= self.dropout <= 1:
            raise InputError(f"text: dropout is a share from 0 to 1, not {self.dropout}")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.words, self.length)

    def drawn(self, seeds: Sequence[int]) -> tuple[str, ...]:
        """An example for each seed; empty texts where there are none."""
        if not self.examples:
            return ("",) * len(seeds)
        return tuple(
            self.examples[int(generator(seed, 0, Stream.LABEL).integers(len(self.examples)))] for seed in seeds
        )


class Reading(NamedTuple):
    """Texts, read."""

    condition: Condition  # words, or context and mask
    weights: Tensor  # (N, L) of each token, 1 as written
    notes: tuple[tuple[str, ...], ...]  # for each text what of it was not understood or cut


class Reader(Protocol):
    """What turns texts into conditions."""

    def read(self, texts: Sequence[str]) -> Reading:
        """Prompts, as people write them."""
        ...

    def learn(self, texts: Sequence[str]) -> Condition:
        """Captions, every character of which is meant."""
        ...


class WordReader:
    """Looks words up in a vocabulary. What they mean is the network's to learn."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def read(self, texts: Sequence[str]) -> Reading:
        """Errors as in `parse_prompt`."""
        all_tokens = [self.vocabulary.tokens(parse_prompt(text)) for text in texts]
        return Reading(
            Condition(words=torch.tensor([tokens.ids for tokens in all_tokens])),
            torch.tensor([tokens.weights for tokens in all_tokens]),
            tuple(tuple(tokens.notes) for tokens in all_tokens),
        )

    def learn(self, texts: Sequence[str]) -> Condition:
        """Captions as they are: brackets and weights are no more than other characters."""
        return Condition(words=torch.tensor([self.vocabulary.tokens([Span(text, 1.0)]).ids for text in texts]))


def weighted(read: Condition, weights: Tensor) -> Condition:
    """Texts whose words count more or less: each token moves from what stands there in the empty text by its weight.

    c = c∅ + w·(c - c∅), so that w = 1 changes nothing and w = 0 says nothing at that place.

    Args:
        read: contexts (N, L, D); the first is that of the empty text.
        weights: (N, L).
    """
    if read.context is None or bool((weights == 1).all()):
        return read
    empty, weights = read.context[:1], weights[:, :, None].to(read.context)
    return replace(read, context=torch.where(weights == 1, read.context, torch.lerp(empty, read.context, weights)))
