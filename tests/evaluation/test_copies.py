import math
from itertools import combinations

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


def test_left_out_one_at_a_time_by_hand():
    """Training pictures 0, 4, 5, 8: without 0 the nearest to it is 4, whose nearest other is then 5; and so on."""
    found = copies(line(1), line(0, 4, 5, 8), None, left_out=np.array([0, 1, 2, 3]), quantile=0.5)
    assert found.held_out_nearest.tolist() == [1, 2, 1, 2]
    assert found.held_out_distance.tolist() == [4, 1, 1, 3]
    # 4 is nearest to 5, which without 4 is 3 from 8; 5 is nearest to 4, which without 5 is 4 from 0 and from 8
    assert found.held_out_authentic.tolist() == [True, False, False, True]
    assert (found.threshold, found.share, found.authentic.tolist()) == (1, 1, [False])


def test_left_out_is_as_if_it_had_been_held_out():
    training, samples = RNG.normal(size=(30, 3)), RNG.normal(size=(8, 3))
    left = np.array([4, 11, 29])
    found = copies(samples, training, None, left_out=left, quantile=1)
    for place, row in enumerate(left):
        rest = np.delete(training, row, axis=0)
        alone = copies(samples, rest, training[[row]], quantile=1)
        assert found.held_out_distance[place] == alone.held_out_distance[0]
        assert found.held_out_authentic[place] == alone.held_out_authentic[0]
        assert np.array_equal(
            training[found.held_out_nearest[place]], np.delete(training, row, 0)[alone.held_out_nearest[0]]
        )


@pytest.mark.parametrize(("n", "h", "quantile"), [(3, 4, 0.25), (4, 3, 1 / 3), (2, 5, 0.6)])
def test_chance_by_counting_all_orders(n, h, quantile):
    """Of all orders in which samples and held-out pictures can stand, how many have as many samples so near?"""
    rank = math.ceil(quantile * h - 1e-9)
    counts = []
    for places in combinations(range(n + h), n):
        threshold = [place for place in range(n + h) if place not in places][rank - 1]
        counts.append(sum(place < threshold for place in places))
    for places in combinations(range(n + h), n):
        others = [place for place in range(n + h) if place not in places]
        found = copies(
            line(*(1.0 + p for p in places)), line(0, -50), line(*(1.0 + p for p in others)), quantile=quantile
        )
        within = sum(place < others[rank - 1] for place in places)
        assert found.share == within / n
        assert found.chance == pytest.approx(np.mean([count >= within for count in counts]))


def test_chance_tells_planted_copies_from_luck():
    training, held_out, fresh = (RNG.normal(size=(n, 8)) for n in (300, 200, 200))
    assert copies(fresh, training, held_out).chance > 0.01
    planted = fresh.copy()
    planted[:12] = training[:12] + RNG.normal(0, 1e-3, (12, 8))
    found = copies(planted, training, held_out)
    assert found.chance < 1e-3
    assert copies(planted, training, None, left_out=np.arange(300)).chance < 1e-3
    assert 0 < copies(training[:200], training, held_out, quantile=0.005).chance < 1e-50


def test_held_out_pictures_or_those_left_out():
    for held, left in ((None, None), (line(1), np.array([0]))):
        with pytest.raises(InputError, match="held-out pictures, or training pictures to leave out"):
            copies(line(1), line(0, 4, 5), held, left_out=left, quantile=1)
    with pytest.raises(InputError, match="3 pictures at least"):
        copies(line(1), line(0, 4), None, left_out=np.array([0]), quantile=1)


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
