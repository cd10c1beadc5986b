import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.evaluation.retrieval import retrieval

GALLERY = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
SHOWN = np.array([10, 20, 30, 10])


def test_by_hand():
    """Cosines of (1, 1) to the four: .71, .71, -.71, .99. So 10 comes first, 20 second, 30 last."""
    found = retrieval(np.array([[1.0, 1.0]] * 3), np.array([10, 20, 30]), GALLERY, SHOWN)
    assert (found.top1, found.top5, found.median_rank) == (1 / 3, 1.0, 2.0)
    assert (found.names, found.n) == (3, 3)


def test_length_does_not_count():
    assert retrieval(np.array([[0.0, 1e6]]), np.array([20]), GALLERY * 1e-3, SHOWN).top1 == 1


def test_what_is_barred_is_not_seen():
    barred = np.array([[False, False, False, True]])
    picture = np.array([[0.6, 0.8]])
    assert retrieval(picture, np.array([10]), GALLERY, SHOWN).median_rank == 1
    assert retrieval(picture, np.array([10]), GALLERY, SHOWN, barred).median_rank == 2  # .8 of 20 against .6 of 10
    alone = retrieval(picture, np.array([20]), GALLERY, SHOWN, np.array([[True, False, False, True]]))
    assert (alone.median_rank, alone.names) == (1, 2)


def test_chance_is_one_in_so_many():
    rng = np.random.default_rng(0)
    found = retrieval(rng.normal(size=(4000, 6)), rng.integers(0, 40, 4000), rng.normal(size=(40, 6)), np.arange(40))
    for share, expected in ((found.top1, 1 / 40), (found.top5, 5 / 40)):
        assert abs(share - expected) < 4 * (expected / 4000) ** 0.5
    assert abs(found.median_rank - 20.5) < 2


@pytest.mark.parametrize(
    "arguments",
    [
        (np.ones((2, 2)), np.array([10]), GALLERY, SHOWN),
        (np.ones((1, 3)), np.array([10]), GALLERY, SHOWN),
        (np.ones((1, 2)), np.array([10]), GALLERY, SHOWN[:2]),
        (np.ones((1, 2)), np.array([10]), GALLERY, SHOWN, np.zeros((2, 4), bool)),
        (np.ones((0, 2)), np.array([]), GALLERY, SHOWN),
    ],
)
def test_arrays_that_do_not_belong_together(arguments):
    with pytest.raises(InputError, match="do not belong together"):
        retrieval(*arguments)


@pytest.mark.parametrize("barred", [None, np.array([[False, True, False, False]])])
def test_a_right_name_that_there_is_not(barred):
    with pytest.raises(InputError, match="no real picture that it is compared with shows"):
        retrieval(np.ones((1, 2)), np.array([15 if barred is None else 20]), GALLERY, SHOWN, barred)
