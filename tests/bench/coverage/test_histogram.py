"""Shares of modes, and how far they are from even: closed forms, and scipy's entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bench.coverage.histogram import kl_from_uniform, kl_to_uniform, shares
from scipy.stats import entropy


def test_closed_forms() -> None:
    even = shares(np.arange(1000), 1000)
    assert kl_to_uniform(even) == pytest.approx(0, abs=1e-12)
    assert kl_from_uniform(even) == pytest.approx(0, abs=1e-12)
    assert kl_to_uniform(shares(np.full(7, 3), 25)) == pytest.approx(math.log(25))  # all on one
    half = shares(np.array([0, 0, 2, 2]), 4)
    assert kl_to_uniform(half) == pytest.approx(math.log(2))
    assert kl_from_uniform(half) == math.inf
    uneven = np.array([0.5, 0.5 / 3, 0.5 / 3, 0.5 / 3])
    assert kl_from_uniform(uneven) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_against_scipy() -> None:
    share = shares(np.random.default_rng(0).integers(0, 12, 500), 12)
    uniform = np.full(12, 1 / 12)
    assert kl_to_uniform(share) == pytest.approx(entropy(share, uniform))
    assert kl_from_uniform(share) == pytest.approx(entropy(uniform, share))
    assert share.sum() == pytest.approx(1)


def test_of_few_fair_samples_the_divergence_is_not_zero() -> None:
    """About (K - 1)/2n, the first term of its expansion: why real data of equal number stands beside every table."""
    random, kinds, n = np.random.default_rng(1), 1000, 20_000
    mean = np.mean([kl_to_uniform(shares(random.integers(0, kinds, n), kinds)) for _ in range(20)])
    assert mean == pytest.approx((kinds - 1) / (2 * n), rel=0.03)
