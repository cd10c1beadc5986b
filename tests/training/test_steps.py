"""Steps and parts: every picture once, in order, none of two batches together, wherever a sitting begins."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from sfumato.training.steps import Part, parts, split, steps

RUNS = {"pictures": st.integers(1, 90), "batch": st.integers(1, 20), "most": st.integers(1, 7)}


def numbers(cut) -> list[int]:
    return list(chain.from_iterable(range(first, first + count) for first, count in cut))


@given(seen=st.integers(0, 90), **RUNS)
def test_every_picture_that_is_left_comes_once_and_in_order(seen: int, pictures: int, batch: int, most: int) -> None:
    left = list(range(seen, pictures))
    assert numbers(steps(seen, pictures, batch)) == left
    assert numbers(parts(seen, pictures, batch, most)) == left


@given(seen=st.integers(0, 90), **RUNS)
def test_a_step_is_what_is_left_of_a_batch_and_its_parts_are_as_good_as_equal(
    seen: int, pictures: int, batch: int, most: int
) -> None:
    for step in steps(seen, pictures, batch):
        first, end = step.first, step.first + step.count
        assert first // batch == (end - 1) // batch
        assert end == pictures or end % batch == 0
        sizes = [part.count for part in split(step, most)]
        assert len(sizes) == min(most, step.count)
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)


@given(cut=st.integers(0, 90), **RUNS)
def test_a_run_that_goes_on_after_a_step_goes_on_with_the_same_ones(
    cut: int, pictures: int, batch: int, most: int
) -> None:
    whole = list(parts(0, pictures, batch, most))
    seen = min(cut * batch, pictures)
    assert [part for part in whole if part.first >= seen] == list(parts(seen, pictures, batch, most))


def test_as_one_would_write_it() -> None:
    assert list(steps(6, 20, 8)) == [(6, 2), (8, 8), (16, 4)]
    assert split(Part(16, 7), 3) == [(16, 3), (19, 2), (21, 2)]
    assert list(steps(20, 20, 8)) == list(steps(30, 20, 8)) == []
