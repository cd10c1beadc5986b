"""In which order pictures come: a permutation evaluated at an index, without a table and without a state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sfumato.errors import InputError
from sfumato.seeds import Stream, check_seed, generator, permutation

__all__ = ["LARGE", "Order", "permuted"]

LARGE = 2**20  # pictures; beyond, the order of an epoch is computed where it is asked for
SMALL = 2**10  # a Feistel network on few bits reaches only half of the orders, and not all of them equally often
ROUNDS = 12
_MOST = 2**62


class Order:
    """Which picture of the data comes as number n of a run: every picture once in each epoch of `count` numbers.

    A pure function of (seed, n). How numbers are grouped into batches, and which worker or machine asks, is nothing
    to it. Up to `LARGE` pictures an epoch's order is `seeds.permutation`, drawn evenly from all orders there are and
    kept as a table of at most 8 MB; beyond, it is `permuted`, which needs no memory. The size of the data alone
    decides which: the orders of runs that were begun before there was a second way stay as they were.

    Args:
        count: pictures of the data, 1 … 2⁶².
        seed: of the run.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = _counted(count), check_seed(seed)
        self._table = lru_cache(maxsize=2)(lambda epoch: permutation(count, seed, Stream.ORDER, epoch))

    def __call__(self, numbers: Sequence[int] | range | np.ndarray) -> np.ndarray:
        """The pictures that come as these numbers of the run (from 0 on): int64, of the same length."""
        epochs, places = np.divmod(np.asarray(numbers, np.int64), self.count)
        index = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            if self.count <= LARGE:
                index[here] = self._table(epoch)[places[here]]
            else:
                index[here] = permuted(places[here], self.count, self.seed, epoch)
        return index


def permuted(index: Sequence[int] | range | np.ndarray, count: int, seed: int, epoch: int, part: int = 0) -> np.ndarray:
    """What a permutation of 0 … count - 1 puts at the places `index`, each in constant time and memory.

    Up to 1,024 it is drawn evenly from all there are. Beyond, a balanced Feistel network (Luby & Rackoff 1988) permutes
    the numbers of an even number of bits; where it leads beyond `count`, it is applied again until it does not ("cycle
    walking", Black & Rogaway 2002), fewer than four times on average. Its round keys come from Philox; its round
    function is the finaliser of SplitMix64 (Steele, Lea & Flood 2014). Not for secrets.

    Args:
        index: places, 0 … count - 1.
        count: 1 … 2⁶².
        seed, epoch, part: which permutation it is; `part` numbers several of one epoch.

    Returns:
        int64, of the shape of `index`.
    """
    count, places = _counted(count), np.asarray(index, np.int64)
    if places.size and not (places.min() >= 0 and places.max() < count):
        raise InputError(f"places of a permutation of {count:,} lie in 0 … {count - 1:,}")
    # step 0 of the stream is what seeds.permutation draws from
    bits = generator(check_seed(seed), epoch, Stream.ORDER, 1 + part).bit_generator
    if count <= SMALL:
        return np.argsort(bits.random_raw(count), kind="stable")[places]
    half, keys = ((count - 1).bit_length() + 1) // 2, bits.random_raw(ROUNDS)
    values = _feistel(places.astype(np.uint64).ravel(), half, keys)
    while (outside := np.flatnonzero(values >= count)).size:
        values[outside] = _feistel(values[outside], half, keys)
    return values.astype(np.int64).reshape(places.shape)


def _feistel(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of the numbers of 2 x `half` bits: uint64 in and out."""
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right + key) >> np.uint64(64 - half))
    return left << shift | right


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: each bit of the result depends on all 64 bits of `x`."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _counted(count: int) -> int:
    if not 1 <= count <= _MOST:
        raise InputError(f"an order is one of 1 … 2**62 pictures, not of {count:,}")
    return int(count)
