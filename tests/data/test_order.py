"""The order of pictures: each once in every epoch, evenly drawn, and a function of the index alone."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.data import order
from sfumato.data.order import LARGE, Order, permuted
from sfumato.errors import InputError
from sfumato.seeds import MAX_SEED, Stream, generator, permutation

seeds, epochs = st.integers(0, MAX_SEED), st.integers(0, 2**40)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6000), seeds, epochs, st.integers(0, 50))
def test_is_a_permutation(count: int, seed: int, epoch: int, part: int) -> None:
    assert np.array_equal(np.sort(permuted(range(count), count, seed, epoch, part)), np.arange(count))


@pytest.mark.parametrize("count", [1, 2, 3, 1023, 1024, 1025, 4095, 4096, 4097, 65536, 65537])
def test_is_a_permutation_beside_powers_of_two(count: int) -> None:
    assert np.array_equal(np.sort(permuted(range(count), count, 3, 1)), np.arange(count))


def undone(value: int, count: int, seed: int, epoch: int) -> int:
    """Where `permuted` puts `value` from, by Python's whole numbers and one round after the other backwards."""
    half = next(h for h in range(64) if 4**h >= count)
    keys = generator(seed, epoch, Stream.ORDER, 1).bit_generator.random_raw(order.ROUNDS).tolist()
    while True:
        left, right = divmod(value, 2**half)
        for key in reversed(keys):
            x = (left + key) % 2**64
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
                x = (x ^ x >> shift) * factor % 2**64
            left, right = right ^ (x ^ x >> 31) >> 64 - half, left
        value = left * 2**half + right
        if value < count:
            return value


@settings(deadline=None, max_examples=25)
@given(st.integers(1025, 2**40), st.data(), seeds, epochs)
def test_can_be_undone_at_every_size(count: int, data: st.DataObject, seed: int, epoch: int) -> None:
    """A map of 0 … N - 1 into itself that has an inverse is a permutation, however large N is."""
    index = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=5))
    there = permuted(index, count, seed, epoch).tolist()
    assert [undone(value, count, seed, epoch) for value in there] == index


@pytest.mark.parametrize("count", [2, 3, 4])
def test_small_orders_are_equally_frequent(count: int) -> None:
    drawn = Counter(tuple(permuted(range(count), count, seed, 0).tolist()) for seed in range(1200))
    assert stats.chisquare([drawn[p] for p in permutations(range(count))]).pvalue > 0.001


def test_large_orders_are_even() -> None:
    """Where the first two pictures go, over 500 epochs, and how neighbours lie to each other in one."""
    count = 1500
    ends = np.array([permuted([0, 1], count, 5, epoch) for epoch in range(500)])
    cells = ends[:, 0] * 4 // count * 4 + ends[:, 1] * 4 // count
    assert stats.chisquare(np.bincount(cells, minlength=16)).pvalue > 0.001
    assert (ends[:, 0] != ends[:, 1]).all()
    there = permuted(range(30_000), 10**6, 5, 0)
    steps = np.diff(there) % 10**6
    for values in (there, steps):
        assert stats.chisquare(np.bincount(values * 100 // 10**6, minlength=100)).pvalue > 0.001
    assert abs(np.mean(np.sign(np.diff(there)))) < 5 / np.sqrt(len(there))  # parity: as often up as down


def test_seed_epoch_and_part_give_other_orders() -> None:
    base = permuted(range(2000), 2000, 1, 1)
    for other in ((2, 1, 0), (1, 2, 0), (1, 1, 1)):
        # two unrelated orders agree in one place on average
        assert (permuted(range(2000), 2000, *other) == base).sum() < 10


@pytest.mark.parametrize("count", [7, 5000, LARGE + 3])
def test_batches_workers_and_ranks_see_the_same_order(count: int) -> None:
    here = Order(count, 4)
    numbers = np.arange(5 * count - 30, 5 * count + 34)  # over the end of an epoch
    whole = here(numbers)
    for ranks in (1, 2, 4):
        shares = np.stack([Order(count, 4)(numbers[rank::ranks]) for rank in range(ranks)], axis=1)
        assert np.array_equal(shares.ravel(), whole)
    assert [int(here([n])[0]) for n in reversed(numbers.tolist())] == whole[::-1].tolist()


@pytest.mark.parametrize("large", [LARGE, 100])
def test_every_epoch_shows_every_picture_once(monkeypatch: pytest.MonkeyPatch, large: int) -> None:
    monkeypatch.setattr(order, "LARGE", large)
    shown = Order(1300, 9)(range(3 * 1300)).reshape(3, 1300)
    assert (np.sort(shown) == np.arange(1300)).all()
    assert not np.array_equal(shown[0], shown[1])


def test_orders_of_runs_that_were_begun_earlier_stay() -> None:
    for epoch in (0, 3):
        numbers = range(500 * epoch, 500 * (epoch + 1))
        assert np.array_equal(Order(500, 11)(numbers), permutation(500, 11, Stream.ORDER, epoch))


def test_is_cheap_where_a_table_would_be_a_terabyte() -> None:
    assert len(set(Order(2**40, 0)(range(2**40 - 500, 2**40 + 500)).tolist())) > 990


@pytest.mark.parametrize("count", [0, -1, 2**62 + 1])
def test_refuses_what_has_no_order(count: int) -> None:
    with pytest.raises(InputError, match="an order is one of"):
        Order(count, 0)
    with pytest.raises(InputError, match="an order is one of"):
        permuted([0], count, 0, 0)


@pytest.mark.parametrize("index", [[-1], [10], [0, 2**40]])
def test_refuses_places_outside(index: list[int]) -> None:
    with pytest.raises(InputError, match="places of a permutation"):
        permuted(index, 10, 0, 0)
