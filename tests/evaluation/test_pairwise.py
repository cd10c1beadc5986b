import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.evaluation.cmmd import cmmd
from sfumato.evaluation.coverage import prdc
from sfumato.evaluation.kid import kid
from sfumato.evaluation.pairwise import Pairwise

RNG = np.random.default_rng(0)
REAL, MADE = RNG.normal(1, 1, (40, 7)).astype(np.float32), RNG.normal(1.3, 0.8, (31, 7)).astype(np.float32)
REAL[5] = REAL[20]  # at distance 0 of each other


@pytest.mark.parametrize(
    ("real", "made"),
    [(np.arange(40), np.arange(31)), (RNG.permutation(40)[:20], RNG.permutation(31)[:15])],
    ids=["all", "part"],
)
def test_measures_of_a_part_are_those_of_its_features(real, made):
    part, one, other = Pairwise.of(REAL, MADE).part(real, made), REAL[real], MADE[made]
    assert part.kid() == pytest.approx(kid(one, other), rel=1e-4)
    assert part.cmmd() == pytest.approx(cmmd(one, other), rel=1e-4)
    for k in (1, 5):
        assert part.prdc(k) == prdc(one, other, k)


def test_many_pictures_are_measured_block_by_block(monkeypatch):
    monkeypatch.setattr("sfumato.evaluation.blocks.spans.__defaults__", (7,))
    near = Pairwise.of(REAL, MADE)
    assert near.across == pytest.approx(((REAL[:, None] - MADE) ** 2).sum(2), rel=1e-5)
    assert not np.diag(near.real).any()
    assert near.real[5, 20] == 0


def test_what_has_no_distance():
    with pytest.raises(InputError, match="7 wide, the made features 6"):
        Pairwise.of(REAL, MADE[:, :6])
    blank = MADE.copy()
    blank[3] = 0
    with pytest.raises(InputError, match="the made features hold only zeros in row 3"):
        Pairwise.of(REAL, blank)
