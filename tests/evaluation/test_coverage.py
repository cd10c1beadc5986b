import tracemalloc

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.evaluation.coverage import Prdc, prdc


def line(*points):
    return np.array(points, np.float64)[:, None]


def test_by_hand():
    """Balls of 0, 2, 10 reach 2, 2, 8; of 1, 3, 30 they reach 2, 2, 27. 1 lies in two, 3 in two, 30 in none."""
    assert prdc(line(0, 2, 10), line(1, 3, 30), 1) == Prdc(2 / 3, 1.0, 4 / 3, 1.0, 1, 3, 3)


def test_the_second_neighbour_by_hand():
    """Balls of 0, 2, 10 reach 10, 8, 10: 1 and 3 lie in all three, 30 in none. Those of 1, 3, 30 reach all."""
    assert prdc(line(0, 2, 10), line(1, 3, 30), 2) == Prdc(2 / 3, 1.0, 1.0, 1.0, 2, 3, 3)


def test_the_surface_belongs_to_the_ball_and_each_number_is_of_its_own_side():
    """Real 0, 2, 10, 30 reach 2, 2, 8, 20; made 4, 5 reach 1, 1.

    4 lies on the surface of 2's ball and within 10's, 5 within 10's only. Made balls hold no real picture.
    Real balls that hold a made one: 2's and 10's.
    """
    assert prdc(line(0, 2, 10, 30), line(4, 5), 1) == Prdc(1.0, 0.0, 1.5, 0.5, 1, 4, 2)
    assert prdc(line(4, 5), line(0, 2, 10, 30), 1) == Prdc(0.0, 1.0, 0.0, 0.0, 1, 2, 4)


def test_copies_of_all_real_pictures_are_perfect_duplicates_included():
    features = np.random.default_rng(0).normal(size=(40, 33))
    features[20:] = features[:20]
    found = prdc(features, features.copy(), 1)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == 2  # the balls have radius 0 and hold both of a kind


@pytest.mark.filterwarnings("ignore:`sklearn.utils.parallel.delayed` should:UserWarning")
@pytest.mark.parametrize("k", [1, 3, 5])
def test_is_that_of_its_authors(k, capsys):
    from prdc import compute_prdc

    rng = np.random.default_rng(k)
    real, made = rng.normal(size=(60, 4)), rng.normal(0.4, 0.8, size=(50, 4))
    found, theirs = prdc(real, made, k), compute_prdc(real, made, k)
    assert 0.2 < found.recall < 0.95
    assert 0.2 < found.coverage < 0.95
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(found, name) == pytest.approx(theirs[name], rel=1e-12)


def test_one_law_on_both_sides():
    """Density is 1 on average, coverage 1 - C: the k nearest of all others are all real with probability C."""
    n, m, k = 9, 7, 2
    rng = np.random.default_rng(1)
    found = [prdc(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)), k) for _ in range(700)]
    expected = 1 - np.prod([(n - i) / (n + m - i) for i in range(1, k + 1)])
    for values, truth in (([f.density for f in found], 1), ([f.coverage for f in found], expected)):
        assert abs(np.mean(values) - truth) < 3.5 * np.std(values) / len(values) ** 0.5


def test_memory_is_bounded():
    rng = np.random.default_rng(2)
    real, made = rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2))  # 72 MB of distances at once
    tracemalloc.start()
    prdc(real, made, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_no_number_of_neighbours(k):
    with pytest.raises(InputError, match="k must be a whole number from 1 on"):
        prdc(line(0, 1, 2), line(0, 1, 2), k)


@pytest.mark.parametrize(("real", "made"), [(3, 5), (5, 3)])
def test_fewer_pictures_than_neighbours(real, made):
    with pytest.raises(InputError, match=f"k = 3 .* need 4 pictures .* {real} real and {made} made: take more"):
        prdc(line(*range(real)), line(*range(made)), 3)
