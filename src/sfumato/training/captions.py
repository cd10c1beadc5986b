"""What a training is told of a picture: its caption, said in another way each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sfumato.data.dataset import Dataset
from sfumato.data.on_demand import OnDemand
from sfumato.errors import InputError, nearest
from sfumato.seeds import Stream, generator

__all__ = ["Captions"]


@dataclass(frozen=True)
class Captions:
    """Captions as a pure function of (seed, number of the picture in the run).

    A text is the caption (four times of five) and up to three of the tags, at least one where the caption is missing;
    then, four times of five each, the labels of the kinds to be spoken: "noto style".

    Attributes:
        data: pictures with captions.
        seed: of the run.
        spoken: kinds of labels that are told in words.
        dropout: chance of an empty text.

    Raises:
        InputError: when the data has no captions, or no such kind.
    """

    data: Dataset | OnDemand
    seed: int
    spoken: tuple[str, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.data.captions:
            raise InputError(f"{self.data.name} has no captions to learn from. Add a metadata.jsonl with a text each")
        for kind in self.spoken:
            if kind not in self.data.kinds:
                raise InputError(f"{self.data.name} has no labels of kind {kind!r}. {nearest(kind, self.data.kinds)}")

    def text(self, picture: int, n: int) -> str:
        """What is said of picture `picture` of the data when it is the n-th of the run."""
        rng = generator(self.seed, n, Stream.CAPTION)
        empty, with_caption, *say = rng.random(2 + len(self.spoken))
        if empty < self.dropout:
            return ""
        tags = self._tags(picture)
        whole = with_caption < 0.8 or not tags
        count = int(rng.integers(0 if whole else 1, min(3, len(tags)) + 1)) if tags else 0
        chosen = [tags[int(i)] for i in rng.permutation(len(tags))[:count]]
        caption = [self.data.captions[picture]] if whole else []
        labels = [text for chance, text in zip(say, self._labels(picture), strict=True) if text and chance < 0.8]
        return ", ".join(filter(None, [*caption, *chosen, *labels]))

    def plain(self, picture: int) -> str:
        """The caption with its labels, as one would ask for the picture."""
        return ", ".join(filter(None, [self.data.captions[picture], *self._labels(picture)]))

    def everything(self) -> Iterator[str]:
        """Texts that together hold every word that can be said."""
        for picture in range(len(self.data)):
            yield self.plain(picture)
            yield from self._tags(picture)

    def _tags(self, picture: int) -> Sequence[str]:
        return self.data.tags[picture] if self.data.tags else ()

    def _labels(self, picture: int) -> Sequence[str]:
        columns = list(self.data.kinds)
        row = self.data.labels[picture]
        indices = [(kind, int(row[columns.index(kind)])) for kind in self.spoken]
        return [f"{self.data.kinds[kind][i]} {kind}" if i >= 0 else "" for kind, i in indices]
