import numpy as np
import pytest
from scipy.spatial import KDTree

from sfumato.evaluation.neighbours import nearest, squared_radii

RNG = np.random.default_rng(0)
MANY, SOME = RNG.normal(size=(2100, 3)), RNG.normal(size=(1100, 3))  # more than a block of each


def test_nearest_is_that_of_a_tree():
    distance, found = KDTree(MANY).query(SOME)
    ours = nearest(SOME, MANY)
    assert ours[0].tolist() == found.tolist()
    np.testing.assert_allclose(ours[1], distance, rtol=1e-12)


def test_nearest_other_is_the_second_of_a_tree():
    asked = np.array([3, 1500, 2099])
    distance, found = (np.asarray(a)[:, 1] for a in KDTree(MANY).query(MANY[asked], k=2))
    ours = nearest(MANY[asked], MANY, skip=asked)
    assert ours[0].tolist() == found.tolist()
    np.testing.assert_allclose(ours[1], distance, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 4])
def test_radii_are_those_of_a_tree(k):
    distance, _ = KDTree(SOME).query(SOME, k=k + 1)
    np.testing.assert_allclose(squared_radii(SOME, k), distance[:, k] ** 2, rtol=1e-9)


def test_the_first_of_equals():
    among = np.zeros((3000, 2))
    assert nearest(np.ones((1, 2)), among)[0].tolist() == [0]
    assert nearest(np.ones((2, 2)), among, skip=np.array([0, 5]))[0].tolist() == [1, 0]


def test_a_distance_too_small_to_see_in_inner_products_is_told_to_rounding():
    near = MANY[1234] + 1e-9
    found, distance = nearest(near[None], MANY)
    assert found.tolist() == [1234]
    np.testing.assert_allclose(distance, 3**0.5 * 1e-9, rtol=1e-5)


def test_several_are_skipped(monkeypatch):
    monkeypatch.setattr("sfumato.evaluation.blocks.spans.__defaults__", (3,))
    points = np.array([[0.0], [1], [2.5], [4.5], [7]])
    skip = np.array([[0, 1], [1, 0], [2, 1], [3, 4], [4, 3]])
    found, distance = nearest(points, points, skip=skip)
    assert found.tolist() == [2, 2, 3, 2, 2]
    assert distance.tolist() == [2.5, 1.5, 2, 2, 4.5]
    assert nearest(points, points, skip=np.empty((5, 0), int))[0].tolist() == [0, 1, 2, 3, 4]
