import numpy as np
import pytest

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError


def make(**changes):
    facts = {
        "name": "d",
        "images": np.arange(4 * 12, dtype=np.uint8).reshape(4, 2, 2, 3),
        "labels": np.array([[0], [1], [-1], [0]]),
        "kinds": {"k": ("a", "b")},
        "captions": ("w", "x", "y", "z"),
    }
    return Dataset(**{**facts, **changes})


def test_the_fingerprint_knows_everything_that_training_sees():
    base = make()
    assert base.fingerprint == make(name="other", source="elsewhere").fingerprint
    for other in (
        make(images=base.images + np.uint8(1)),
        make(images=base.images.reshape(4, 2, 2, 3)[::-1]),
        make(images=base.images.reshape(4, 4, 1, 3)),
        make(labels=np.array([[0], [1], [1], [0]])),
        make(kinds={"k": ("a", "c")}),
    ):
        assert other.fingerprint != base.fingerprint


@pytest.mark.parametrize("index", [[2, 0], np.array([True, False, True, False]), []])
def test_a_subset_keeps_what_belongs_together(index):
    part, base = make().subset(index), make()
    numbers = np.flatnonzero(index) if np.asarray(index).dtype == bool else index
    assert part.captions == tuple(base.captions[i] for i in numbers)
    for k, i in enumerate(numbers):
        assert np.array_equal(part.images[k], base.images[i])
        assert np.array_equal(part.labels[k], base.labels[i])


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((4, 2, 2, 3), np.float32)},
        {"images": np.zeros((4, 2, 2), np.uint8)},
        {"labels": np.zeros((3, 1), np.int64)},
        {"labels": np.array([[0], [2], [0], [0]])},
        {"labels": np.array([[0], [-2], [0], [0]])},
        {"captions": ("w",)},
    ],
)
def test_refuses_what_does_not_fit_together(changes):
    with pytest.raises(InputError):
        make(**changes)
