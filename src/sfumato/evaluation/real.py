"""The real pictures of an evaluation: the reference, others like it, what the model was trained on, what it was not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.data.sources import FETCHED, open_data
from sfumato.errors import InputError
from sfumato.evaluation.measures import check_number
from sfumato.evaluation.search import digests
from sfumato.models.spec import ModelSpec
from sfumato.seeds import Stream, permutation

__all__ = ["MOST_PICTURES", "Real", "Sides", "is_training", "open_real", "sides"]

MOST_PICTURES = 5_000


@dataclass(frozen=True, eq=False)
class Real:
    """Real pictures, by what they are to a model.

    Attributes:
        data: where the reference is drawn from.
        trained: whether that is what the model was trained on.
        training: what it was trained on, if it is at hand.
        held_out: pictures of the same kind that it was not trained on, if there are any.
        notes: what a reader must know of them.
    """

    data: Dataset
    trained: bool
    training: Dataset | None
    held_out: Dataset | None
    notes: tuple[str, ...]

    @property
    def unlearned(self) -> Dataset:
        """What says most of pictures that the model has not seen: those held out, or else `data`."""
        return self.data if self.held_out is None else self.held_out


@dataclass(frozen=True, eq=False)
class Sides:
    """Rows of a data set: the reference, and as many others to be compared with it; none where too few are left."""

    reference: np.ndarray
    other: np.ndarray


def open_real(
    spec: ModelSpec, data: str | None = None, training: str | None = None, held_out: str | None = None
) -> Real:
    """Open what an evaluation of a model needs. All are names, packed files or folders.

    Args:
        spec: of the model.
        data: what the reference is drawn from; default: what the model was trained on.
        training: what it was trained on, where its own name for that opens nothing.
        held_out: pictures kept from training; default: the part that is known to belong to the training data, such as
            "emoji:held-out" to "emoji:train" and "cifar10/test" to "cifar10".

    Raises:
        InputError: for what cannot be opened, or has other sizes or channels than the model's pictures.
    """
    own = str(spec.data.get("name") or "")
    if data is None and not own:
        raise InputError(f"model {spec.name!r} does not say what it was trained on: name real pictures with --data")
    try:
        opened = _opened(data or own, spec)
    except InputError as error:
        if data is not None:
            raise
        raise InputError(f"what {spec.name!r} was trained on cannot be opened: {error} Name it with --data.") from error
    trained = is_training(opened, spec)
    notes = []
    learned = opened if trained else None
    if training is not None:
        learned = _opened(training, spec)
    elif learned is None and own:
        try:
            learned = _opened(own, spec)
        except InputError as error:
            notes.append(
                f"What the model was trained on ({own}) is not at hand, so nothing is told of memorisation: {error} "
                "Name it with --training."
            )
    if learned is not None and learned.fingerprint != spec.data.get("fingerprint", learned.fingerprint):
        notes.append(f"{learned.name} is not quite what the model was trained on: the fingerprints differ.")
    kept = _kept(held_out, own if training is None else training, spec, notes)
    if kept is not None and learned is not None:
        kept = _unseen(kept, learned, notes)
    if trained:
        notes.insert(
            0,
            "The reference is what the model was trained on: a model that copies its pictures does best. Read the "
            "numbers together with those on memorisation.",
        )
    elif learned is not None:
        shared = int(np.isin(digests(opened), digests(learned)).sum())
        if shared:
            notes.insert(0, f"{shared} of the {len(opened)} pictures of {opened.name} are training pictures as well.")
    return Real(opened, trained, learned, kept, tuple(notes))


def is_training(data: Dataset, spec: ModelSpec) -> bool:
    """Whether a model was trained on a data set, by its fingerprint or its name."""
    return bool(spec.data) and (data.fingerprint == spec.data.get("fingerprint") or data.name == spec.data.get("name"))


def sides(data: Dataset, n: int | None) -> Sides:
    """n pictures as reference and n others, drawn once and for all; default: half of the data, at most `MOST_PICTURES`.

    Raises:
        InputError: for more pictures than there are, or too few.
    """
    if n is None:
        n = min(len(data) // 2, MOST_PICTURES)
    if n > len(data):
        raise InputError(
            f"{n:,} samples need {n:,} real pictures beside them, and {data.name} has {len(data):,}: ask for fewer "
            "(--n), or name more pictures (--data)"
        )
    check_number(n)
    order = permutation(len(data), 0, Stream.SPLIT)
    return Sides(order[:n], order[n : 2 * n] if 2 * n <= len(data) else order[:0])


def _opened(name: str, spec: ModelSpec) -> Dataset:
    data = open_data(name, size=spec.size, mode={1: "L", 3: "RGB"}.get(spec.channels))
    made = (*spec.size, spec.channels)
    if data.images.shape[1:] != made:
        raise InputError(f"{data.name} has pictures of {data.images.shape[1:]}, the model makes {made}.")
    return data


def _kept(held_out: str | None, trained_on: str, spec: ModelSpec, notes: list[str]) -> Dataset | None:
    if held_out is not None:
        return _opened(held_out, spec)
    if trained_on.endswith(":train"):
        partner = trained_on.removesuffix(":train") + ":held-out"
    elif trained_on in FETCHED:
        partner = f"{trained_on}/test"
    else:
        return None
    try:
        return _opened(partner, spec)
    except InputError as error:
        notes.append(f"The held-out pictures {partner} cannot be opened: {error}")
        return None


def _unseen(held_out: Dataset, training: Dataset, notes: list[str]) -> Dataset | None:
    """Without pictures that are training pictures, too."""
    fresh = ~np.isin(digests(held_out), digests(training))
    if fresh.all():
        return held_out
    notes.append(
        f"{int((~fresh).sum())} of the {len(held_out)} pictures of {held_out.name} are training pictures as well; as "
        "held-out pictures they are left out."
    )
    return held_out.subset(fresh) if fresh.any() else None
