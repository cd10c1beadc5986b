import numpy as np
from scipy.spatial.distance import cdist

from sfumato.evaluation.blocks import ROWS, WIDTH, products, spans, squared_distances

RNG = np.random.default_rng(0)


def test_spans_cover_all_once():
    for count in (0, 1, ROWS, ROWS + 1, 2 * ROWS + 5):
        assert [i for part in spans(count) for i in range(count)[part]] == list(range(count))
        assert all(0 < part.stop - part.start <= ROWS for part in spans(count))


def test_wider_than_a_block():
    one, other = RNG.normal(size=(3, WIDTH + 7)), RNG.normal(size=(4, WIDTH + 7)).astype(np.float32)
    np.testing.assert_allclose(products(one, other), one @ other.T.astype(np.float64), rtol=1e-10)
    np.testing.assert_allclose(squared_distances(one, other), cdist(one, other) ** 2, rtol=1e-10)


def test_pixels_are_exact():
    one, other = (RNG.integers(0, 256, (5, 3072), dtype=np.uint8) for _ in range(2))
    exact = [[sum((int(p) - int(q)) ** 2 for p, q in zip(a, b, strict=True)) for b in other] for a in one]
    assert squared_distances(one, other).tolist() == exact


def test_equal_rows_are_at_distance_zero_and_near_ones_are_not():
    one = RNG.normal(7, 1, size=(50, 777))
    assert (np.diag(squared_distances(one, one.copy())) == 0).all()
    near = one.copy()
    near[:, 0] += 1e-3
    # the difference of numbers of 78,000, each known to some 1e-16 of itself
    np.testing.assert_allclose(np.diag(squared_distances(one, near)), 1e-6, rtol=1e-3)
