"""Power-function averages, against sums and integrals done by brute force."""

import math

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.training.power import Profile, combination, distance, exponent, inner_product, kept


def density(profile: Profile, tau: np.ndarray) -> np.ndarray:
    value = (profile.gamma + 1) * tau**profile.gamma / profile.end ** (profile.gamma + 1)
    return np.where(tau <= profile.end, value, 0.0)


GRID = (np.arange(200_000) + 0.5) / 200_000 * 100  # midpoints on [0, 100]
STEP = 100 / 200_000


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_a_length_is_the_standard_deviation_of_its_profile(length):
    p = density(Profile(exponent(length), 100), GRID)
    mean = (p * GRID).sum() * STEP
    std = math.sqrt((p * (GRID - mean) ** 2).sum() * STEP)
    assert p.sum() * STEP == pytest.approx(1, rel=1e-4)
    assert std / 100 == pytest.approx(length, rel=1e-3)
    assert exponent(length) > 0


def test_the_papers_two_lengths():
    """Karras et al. 2024: γ = 16.97 is 5%, γ = 6.94 is 10%."""
    assert exponent(0.05) == pytest.approx(16.97, abs=5e-3)
    assert exponent(0.10) == pytest.approx(6.94, abs=5e-3)


@pytest.mark.parametrize("gamma", [0.5, 6.94, 16.97])
def test_the_running_average_is_the_integral(gamma):
    """Steps of uneven size, each weight counting ∫ of the density over its step; the first weights count nothing."""
    rng = np.random.default_rng(0)
    values, sizes = rng.normal(size=40), rng.integers(1, 9, 40)
    average, seen = 123.0, 0
    for value, size in zip(values, sizes, strict=True):
        seen += int(size)
        beta = kept(gamma, int(size), seen)
        average = beta * average + (1 - beta) * value
    ends = np.cumsum(sizes) / seen
    counts = ends ** (gamma + 1) - (ends - sizes / seen) ** (gamma + 1)
    assert average == pytest.approx((counts * values).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("p", "q"), [((7.0, 80.0), (17.0, 100.0)), ((7.0, 100.0), (7.0, 30.0)), ((0.3, 50.0), (2.0, 50.0))]
)
def test_inner_products_are_the_integrals(p, q):
    p, q = Profile(*p), Profile(*q)
    expected = (density(p, GRID) * density(q, GRID)).sum() * STEP
    assert inner_product(p, q) == pytest.approx(expected, rel=1e-3)
    assert inner_product(p, q) == inner_product(q, p)


def test_weights_are_the_constrained_least_squares_fit():
    """Against a fit on a fine grid: the last weight is 1 minus the others."""
    kept_ones = [Profile(exponent(length), end) for end in (25.0, 50.0, 75.0, 100.0) for length in (0.05, 0.1)]
    wanted = Profile(exponent(0.15), 90.0)
    columns = np.stack([density(p, GRID) for p in kept_ones], 1)
    free = np.linalg.lstsq(columns[:, :-1] - columns[:, -1:], density(wanted, GRID) - columns[:, -1], rcond=None)[0]
    expected = np.append(free, 1 - free.sum())
    found = combination(kept_ones, wanted)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    off = np.sqrt((columns @ found - density(wanted, GRID)) ** 2 @ np.full(len(GRID), STEP))
    norm = math.sqrt((density(wanted, GRID) ** 2).sum() * STEP)
    assert distance(kept_ones, found, wanted) == pytest.approx(off / norm, rel=1e-2)


def test_what_was_kept_is_given_back():
    kept_ones = [Profile(exponent(length), end) for end in (40.0, 100.0) for length in (0.05, 0.1)]
    for i, one in enumerate(kept_ones):
        np.testing.assert_allclose(combination(kept_ones, one), np.eye(4)[i], atol=1e-8)
        assert distance(kept_ones, np.eye(4)[i], one) < 1e-6


@pytest.mark.parametrize("length", [0.03, 0.07, 0.15])
def test_reconstructed_averages_are_those_that_would_have_been_kept(length):
    """A drifting random walk of weights, 64 snapshots of two lengths: within 2% of the average's own error."""
    rng = np.random.default_rng(1)
    theta = np.cumsum(rng.normal(size=(4096, 8)), 0) + np.sqrt(np.arange(4096))[:, None]
    running = {name: np.zeros(8) for name in (0.05, 0.1, length)}
    kept_ones, snapshots = [], []
    for n, weights in enumerate(theta, 1):
        for name in running:
            beta = kept(exponent(name), 1, n)
            running[name] = beta * running[name] + (1 - beta) * weights
        if n % 64 == 0:
            for name in (0.05, 0.1):
                kept_ones.append(Profile(exponent(name), n))
                snapshots.append(running[name].copy())
    found = combination(kept_ones, Profile(exponent(length), 4096)) @ np.stack(snapshots)
    error = np.abs(found - running[length]).max()
    assert error < 0.02 * np.abs(running[length] - theta[-1]).max()


@pytest.mark.parametrize("length", [0.0, -0.1, 0.29, math.nan])
def test_impossible_lengths(length):
    with pytest.raises(InputError, match="relative length"):
        exponent(length)
