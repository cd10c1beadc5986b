"""Parts of an emoji set: by group, by style, and by the fixed split into training and held-out pictures."""

from __future__ import annotations

import numpy as np

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError, nearest

__all__ = ["part"]


def part(whole: Dataset, held_out: np.ndarray, select: str | None) -> Dataset:
    """A part of an emoji set, or all of it.

    Args:
        whole: a data set with the label kinds `group` and `style`.
        held_out: (N,) bool, which pictures ":train" leaves out.
        select: names of groups and styles, separated by commas, then perhaps ":train" or ":held-out". Several names
            of one kind are alternatives; groups and styles together both have to hold.

    Raises:
        InputError: for an unknown name, or when no picture is left.
    """
    if select is None:
        return whole
    title = f"{whole.name}{'' if select.startswith(':') else '/'}{select}"
    names, colon, side = select.partition(":")
    if colon and side not in ("train", "held-out"):
        raise InputError(f"{title}: after the colon stands train or held-out, not {side!r}")
    keep = np.ones(len(whole), bool) if not colon else held_out == (side == "held-out")
    wanted: dict[str, set[int]] = {}
    for word in (word.strip() for word in names.split(",") if names):
        kind = next((kind for kind, names in whole.kinds.items() if word in names), None)
        if kind is None:
            known = [name for names in whole.kinds.values() for name in names]
            raise InputError(f"{title}: no group or style {word!r}. {nearest(word, known)}")
        wanted.setdefault(kind, set()).add(whole.kinds[kind].index(word))
    for column, kind in enumerate(whole.kinds):
        if kind in wanted:
            keep &= np.isin(whole.labels[:, column], list(wanted[kind]))
    if not keep.any():
        raise InputError(f"{title}: no picture has all of that.")
    return whole.subset(np.flatnonzero(keep), name=title)
