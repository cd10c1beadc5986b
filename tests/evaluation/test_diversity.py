import numpy as np
import pytest

from sfumato.evaluation.diversity import vendi_score

RNG = np.random.default_rng(0)


def directions(m, width):
    """Orthogonal rows, (m, width)."""
    return np.linalg.qr(RNG.normal(size=(width, m)))[0].T


@pytest.mark.parametrize("width", [9, 40])
def test_orthogonal_pictures_all_count(width):
    lengths = RNG.uniform(0.1, 50, (9, 1))  # which must not count
    assert vendi_score(lengths * directions(9, width)) == pytest.approx(9, rel=1e-12)


@pytest.mark.parametrize("n", [1, 3, 50])
def test_equal_pictures_are_one(n):
    assert vendi_score(np.tile(RNG.normal(size=8), (n, 1))) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("width", [5, 100])
def test_equal_clusters_are_counted(width):
    assert vendi_score(np.repeat(directions(4, width), 6, axis=0)) == pytest.approx(4, rel=1e-9)


@pytest.mark.parametrize("width", [5, 100])
def test_unequal_clusters_count_by_their_entropy(width):
    sizes = np.array([1, 2, 5])
    share = sizes / sizes.sum()
    expected = np.prod(share**-share)
    assert vendi_score(np.repeat(directions(3, width), sizes, axis=0)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("repeats", [1, 3])
def test_two_pictures_at_an_angle(repeats):
    """K/2 has the eigenvalues (1 ± cos)/2; repeating both changes nothing."""
    c = np.cos(0.7)
    pair = np.array([[1.0, 0.0], [np.cos(0.7), np.sin(0.7)]])
    values = np.array([(1 + c) / 2, (1 - c) / 2])
    assert vendi_score(np.repeat(pair, repeats, axis=0)) == pytest.approx(np.prod(values**-values), rel=1e-9)


def test_opposite_pictures_are_one_direction():
    """K = [[1, -1], [-1, 1]] has the eigenvalues 2 and 0: the cosine kernel sees lines, not arrows."""
    assert vendi_score(np.array([[1.0, 2.0], [-1.0, -2.0]])) == pytest.approx(1, rel=1e-9)
