"""How a run is cut into steps, and these into parts: which pictures come together. Pure functions of their numbers.

Of several processes each is a rank, and does its share of every step (`ranks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Part", "parts", "share", "split", "steps"]


class Part(NamedTuple):
    """Consecutive pictures of a run."""

    first: int  # the number of the first one: how many came before
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]


def steps(seen: int, pictures: int, batch: int) -> Iterator[Part]:
    """The steps of a run from picture number `seen` on, up to `pictures`.

    Each ends at a multiple of `batch`, or at the end of the run: so it holds pictures of one batch only, wherever an
    earlier sitting ended.
    """
    while seen < pictures:
        count = min(batch - seen % batch, pictures - seen)
        yield Part(seen, count)
        seen += count


def share(step: Part, i: int, among: int) -> Part:
    """Part i of a step that is cut into `among` parts, the larger ones first: their sizes differ by one at most."""
    small, more = divmod(step.count, among)
    return Part(step.first + i * small + min(i, more), small + (i < more))


def split(step: Part, most: int, rank: int = 0, ranks: int = 1) -> list[Part]:
    """One rank's share of a step, as at most `most` parts in their order, whose sizes differ by one at most.

    Every rank has as many parts, since they come together in each. Of one that runs out of pictures the last ones are
    empty, and name the first picture of the step.
    """
    mine, number = share(step, rank, ranks), min(most, share(step, 0, ranks).count)
    parts = (share(mine, i, number) for i in range(number))
    return [part if part.count else Part(step.first, 0) for part in parts]


def parts(seen: int, pictures: int, batch: int, most: int, rank: int = 0, ranks: int = 1) -> Iterator[Part]:
    """All parts of one rank's share of all `steps`, each of which is `split` into at most `most`."""
    for step in steps(seen, pictures, batch):
        yield from split(step, most, rank, ranks)
