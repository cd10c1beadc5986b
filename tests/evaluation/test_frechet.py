import logging

import numpy as np
import pytest
import scipy.linalg
import torch

from sfumato.errors import InputError
from sfumato.evaluation.frechet import frechet_distance, moments


def exact_sample(mean, covariance, n=50, seed=0):
    """Points whose sample mean and covariance are exactly these."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, len(mean)))
    z -= z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False))).T
    return mean + z @ np.linalg.cholesky(covariance).T


def test_gaussians_with_commuting_covariances_have_a_closed_form():
    """‖Δμ‖² + Σ (σ₁ - σ₂)²."""
    one = exact_sample(np.array([1.0, 2.0, 0.0]), np.diag([4.0, 1.0, 9.0]))
    other = exact_sample(np.array([0.0, 2.0, 2.0]), np.diag([1.0, 1.0, 16.0]), seed=1)
    assert frechet_distance(one, other) == pytest.approx(1 + 4 + (2 - 1) ** 2 + 0 + (3 - 4) ** 2)


def test_general_covariances_against_the_matrix_square_root():
    rng = np.random.default_rng(2)
    one, other = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 5)), rng.standard_normal((70, 5))
    (m1, c1), (m2, c2) = moments(one), moments(other)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * np.real(np.asarray(scipy.linalg.sqrtm(c1 @ c2))))
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)


def test_nothing_apart_from_itself_even_when_singular():
    few = np.random.default_rng(3).standard_normal((10, 40))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, few + 1) == pytest.approx(40)


@pytest.mark.parametrize("many", [2, 60])
def test_few_pictures_have_a_closed_form(many):
    """Two points d apart have the covariance ddᵀ/2, so the cross term is √(dᵀΣd/2) for any other Σ."""
    rng = np.random.default_rng(4)
    pair, other = rng.normal(size=(2, 7)), rng.normal(size=(many, 7))
    d, mean, covariance = pair[0] - pair[1], other.mean(0), np.cov(other, rowvar=False)
    expected = (
        ((pair.mean(0) - mean) ** 2).sum() + d @ d / 2 + np.trace(covariance) - 2 * np.sqrt(d @ covariance @ d / 2)
    )
    assert frechet_distance(pair, other) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(other, pair) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(50, 40), (50, 8), (9, 8)])
def test_is_that_of_torchmetrics(n, m):
    """At all of: many pictures, few and many, few."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(n, 9)) @ rng.normal(size=(9, 9)), rng.normal(0.3, 1, size=(m, 9))
    theirs = FrechetInceptionDistance(feature=torch.nn.Identity(), input_img_size=(1, 1, 9)).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(one), real=True)
    theirs.update(torch.from_numpy(other), real=False)
    assert frechet_distance(one, other) == pytest.approx(theirs.compute().item(), rel=1e-6)


@pytest.mark.parametrize(("n", "m", "times"), [(8, 8, 0), (7, 8, 1), (8, 7, 1), (3, 3, 1)])
def test_says_that_few_pictures_are_few(n, m, times, caplog):
    rng = np.random.default_rng(6)
    with caplog.at_level(logging.WARNING, "sfumato"):
        frechet_distance(rng.normal(size=(n, 7)), rng.normal(size=(m, 7)))
    assert len(caplog.records) == times
    if times:
        assert f"{min(n, m)} pictures are few for a Fréchet distance on 7 features" in caplog.text


@pytest.mark.parametrize("bad", [np.zeros((1, 3)), np.zeros(3), np.full((4, 3), np.nan), np.zeros((4, 2))])
def test_refuses_what_has_no_distance(bad):
    with pytest.raises(InputError):
        frechet_distance(bad, np.zeros((4, 3)))
