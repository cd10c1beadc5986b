import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.evaluation.cmmd import cmmd
from sfumato.evaluation.copies import copies
from sfumato.evaluation.coverage import prdc
from sfumato.evaluation.diversity import vendi_score
from sfumato.evaluation.feature_sets import feature_set, unit_rows
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.inception_score import classifier_score
from sfumato.evaluation.kid import kid, kid_of_subsets

GOOD = np.random.default_rng(0).normal(size=(6, 3))
OF_TWO = {
    "frechet": frechet_distance,
    "kid": kid,
    "subsets": lambda a, b: kid_of_subsets(a, b, size=2),
    "cmmd": cmmd,
    "prdc": lambda a, b: prdc(a, b, 2),
    "copies": lambda a, b: copies(a, b, b, quantile=0.5),
    "copies' held out": lambda a, b: copies(b, b, a, quantile=0.5),
    "copies' training": lambda a, b: copies(b, a, b, quantile=0.5),
}
OF_ONE = {"vendi": vendi_score, "classifier": classifier_score}


def holed():
    bad = GOOD.copy()
    bad[4, 1] = np.nan
    return bad


BAD = [
    (holed(), "NaN or infinity, first in row 4: drop"),
    (np.where(np.isnan(holed()), -np.inf, GOOD), "NaN or infinity, first in row 4"),
    (GOOD[0], r"\(n, D\), a row a picture, not \(3,\): flatten"),
    (GOOD.reshape(6, 3, 1), "flatten"),
    (GOOD[:, :0], "flatten"),
    (GOOD[:0], "pictures at least, not 0: take more"),
    (GOOD.astype(complex), "real numbers, not complex128: convert"),
    (np.full((6, 3), "x"), "real numbers"),
]


@pytest.mark.parametrize("measure", OF_TWO.values(), ids=OF_TWO)
@pytest.mark.parametrize(("bad", "message"), [*BAD, (GOOD[:, :2], "wide, .* take both from the same extractor")])
def test_every_measure_of_two_sets_tells_what_is_wrong(measure, bad, message):
    with pytest.raises(InputError, match=message):
        measure(bad, GOOD)


@pytest.mark.parametrize("measure", OF_ONE.values(), ids=OF_ONE)
@pytest.mark.parametrize(("bad", "message"), BAD)
def test_every_measure_of_one_set_tells_what_is_wrong(measure, bad, message):
    with pytest.raises(InputError, match=message):
        measure(bad)


@pytest.mark.parametrize("measure", [frechet_distance, kid, cmmd])
def test_one_picture_has_no_spread(measure):
    with pytest.raises(InputError, match="2 pictures at least, not 1"):
        measure(GOOD, GOOD[:1])


@pytest.mark.parametrize("measure", [lambda a: cmmd(a, GOOD), lambda a: cmmd(GOOD, a), vendi_score])
def test_a_row_of_zeros_has_no_cosine(measure):
    bad = GOOD.copy()
    bad[2] = 0
    with pytest.raises(InputError, match="only zeros in row 2"):
        measure(bad)


def test_keeps_the_type_and_takes_lists():
    assert feature_set(np.zeros((2, 2), np.uint8)).dtype == np.uint8
    assert feature_set([[1.0, 2.0]]).shape == (1, 2)  # type: ignore[arg-type]


def test_unit_rows_at_any_size():
    rows = unit_rows(np.array([[3.0, -4.0], [3e-200, 4e-200], [-3e200, 4e200]]))
    np.testing.assert_allclose(rows, [[0.6, -0.8], [0.6, 0.8], [-0.6, 0.8]], rtol=1e-14)
    assert unit_rows(np.array([[0, 200]], np.uint8)).dtype == np.float64
