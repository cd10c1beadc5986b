import numpy as np
import pytest
import torch

from sfumato.diffusion.draws import check_seeds, signs, strata, uniform
from sfumato.errors import InputError
from sfumato.seeds import Stream


def test_uniform_belongs_to_the_picture():
    batch = uniform([3, (4, 1), 5], (2, 7), Stream.STEP, 6)
    assert batch.dtype == torch.float64
    assert torch.equal(uniform([(4, 1)], (2, 7), Stream.STEP, 6)[0], batch[1])
    for other in (uniform([3], (2, 7), Stream.STEP, 5), uniform([3], (2, 7), Stream.START, 6)):
        assert not torch.equal(other[0], batch[0])
    assert uniform([], (2,), Stream.STEP).shape == (0, 2)


def test_they_are_uniform_and_fair():
    numbers = uniform([1], (100_000,), Stream.STEP)[0]
    assert np.abs(np.histogram(numbers.numpy(), 10, (0, 1))[0] - 10_000).max() < 5 * 95
    toss = signs([1], (100_000,), Stream.STEP)[0]
    assert set(toss.unique().tolist()) == {-1.0, 1.0}
    assert toss.mean().abs().item() < 4 / 100_000**0.5


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3], [1, -2], [1, 2.5], [1, True], [1, (1, -1)]])
def test_seeds(seeds):
    with pytest.raises(InputError, match="seed"):
        check_seeds(seeds, 2)


class TestStrata:
    def test_grow_from_one_term_to_many(self):
        ends = strata(1000, 20)
        sizes = np.diff(ends)
        assert (ends[0], ends[-1], len(sizes)) == (0, 1000, 20)
        assert sizes[0] == 1
        assert (np.diff(sizes) >= -1).all()  # rounded
        np.testing.assert_allclose(ends[-5:-1] / ends[-4:], 1000 ** (-1 / 19), rtol=0.01)

    @pytest.mark.parametrize("terms", [2, 3, 10, 999, 1000])
    def test_hold_every_term_once(self, terms):
        for count in {2, terms // 2, terms - 1, terms} - {0, 1}:
            ends = strata(terms, count)
            assert (len(ends), ends[0], ends[1], ends[-1]) == (count + 1, 0, 1, terms)
            assert (np.diff(ends) >= 1).all()

    @pytest.mark.parametrize("count", [0, 1, 11, True, 2.0, None])
    def test_bad_input(self, count):
        with pytest.raises(InputError, match="from 2 to 10"):
            strata(10, count)
