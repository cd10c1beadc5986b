import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.evaluation.copies import copies

RNG = np.random.default_rng(0)


def line(*points):
    return np.array(points, np.float64)[:, None]


def test_planted_copies_are_found():
    """Three of sixty samples are training pictures with a little noise on: 8-bit pixels, flattened."""
    training, held_out, samples = (RNG.integers(0, 256, (n, 8 * 8 * 3), dtype=np.uint8) for n in (200, 100, 60))
    planted = {5: 17, 20: 199, 41: 0}
    for sample, source in planted.items():
        noise = RNG.integers(-3, 4, training.shape[1])
        samples[sample] = (training[source].astype(int) + noise).clip(0, 255)
    found = copies(samples, training, held_out)
    assert set(found.order[:3]) == set(planted)
    assert {int(i): int(found.nearest[i]) for i in found.order[:3]} == planted
    gap = samples[5].astype(float) - training[17]
    assert found.distance[5] == np.sqrt((gap**2).sum())
    assert not found.authentic[list(planted)].any()
    assert found.share >= 3 / 60
    assert found.held_out_share == 0.01
    assert (np.diff(found.distance[found.order]) >= 0).all()


def test_by_hand():
    """Training pictures 0, 4, 5 are 4, 1, 1 from their nearest other."""
    found = copies(line(1, 4.75, 6, 6.5), line(0, 4, 5), line(2.5, -3, 9), quantile=0.5)
    assert found.nearest.tolist() == [0, 2, 2, 2]
    assert found.distance.tolist() == [1, 0.25, 1, 1.5]
    assert found.authentic.tolist() == [False, False, True, True]  # 6 is as near to 5 as 4 is: not nearer
    assert found.authenticity == 0.5
    assert found.held_out_nearest.tolist() == [1, 0, 2]
    assert found.held_out_distance.tolist() == [1.5, 3, 4]
    assert found.held_out_authentic.tolist() == [True, False, True]
    assert found.held_out_authenticity == 2 / 3
    assert (found.threshold, found.held_out_share, found.share) == (3, 2 / 3, 1)
    tight = copies(line(1, 4.75, 6, 6.5), line(0, 4, 5), line(2.5, -3, 9), quantile=1 / 3)
    assert (tight.threshold, tight.held_out_share, tight.share) == (1.5, 1 / 3, 1)


def test_new_pictures_of_the_same_law_are_as_near_as_held_out_ones():
    samples, training, held_out = (RNG.normal(size=(n, 5)) for n in (1500, 300, 1500))
    found = copies(samples, training, held_out, quantile=0.2)
    assert found.held_out_share == 0.2
    assert abs(found.share - 0.2) < 4 * (2 * 0.2 * 0.8 / 1500) ** 0.5


def test_a_third_is_authentic_on_a_circle():
    """Each of three gaps in a row is as often the least: a point is nearest to its own nearest two times in three."""

    def circle(n):
        angle = RNG.uniform(0, 2 * np.pi, n)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    found = [copies(circle(1), circle(7), circle(1), quantile=1) for _ in range(500)]
    share = np.mean([(f.authenticity, f.held_out_authenticity) for f in found])
    assert abs(share - 1 / 3) < 3.5 * (2 / 9 / 500) ** 0.5


@pytest.mark.parametrize("quantile", [0.0, 0.24, 1.01, float("nan")])
def test_a_quantile_finer_than_the_held_out_pictures(quantile):
    with pytest.raises(InputError, match=r"quantile must be from 1/4 .* take more held-out pictures"):
        copies(line(1), line(0, 4, 5), line(1, 2, 3, 4), quantile=quantile)


def test_one_training_picture_has_no_other():
    with pytest.raises(InputError, match="one has no nearest other"):
        copies(line(1), line(0), line(1), quantile=1)
