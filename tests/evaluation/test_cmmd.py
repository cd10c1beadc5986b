import numpy as np
import pytest
from scipy.special import ive

from sfumato.errors import InputError
from sfumato.evaluation.cmmd import cmmd


def on_circle(angles, seed):
    """Points at these angles and at any distance from the centre, which must not count."""
    lengths = np.random.default_rng(seed).uniform(0.1, 9, len(angles))
    return lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.parametrize(("same", "sigma"), [(False, 0.7), (True, 0.7), (False, 10.0)])
def test_the_mean_of_small_sets_is_the_truth(same, sigma):
    """A circle against one of its points: E k(x, x') = E k(x, y) = e^(-1/σ²)·I₀(1/σ²) and k(y, y') = 1."""
    truth = 0.0 if same else 1 - ive(0, sigma**-2)
    rng, found = np.random.default_rng(0), []
    for i in range(800):
        one, other = rng.uniform(0, 2 * np.pi, (2, 4))
        found.append(cmmd(on_circle(one, i), on_circle(other if same else np.zeros(6), i), sigma=sigma, scale=1))
    assert abs(np.mean(found) - truth) < 3.5 * np.std(found) / len(found) ** 0.5


def test_is_the_papers_formula_in_loops():
    """With its σ = 10 and scale 1000, distances from differences."""
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(7, 5)), rng.normal(0.5, 1, size=(5, 5))
    x, y = (f / np.sqrt((f**2).sum(1, keepdims=True)) for f in (one, other))

    def mean(a, b, same):
        values = [
            np.exp(-((p - q) ** 2).sum() / 200) for i, p in enumerate(a) for j, q in enumerate(b) if i != j or not same
        ]
        return np.mean(values)

    expected = 1000 * (mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False))
    assert cmmd(one, other) == pytest.approx(expected, rel=1e-9)
    assert cmmd(one.astype(np.float32), other) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", [{"sigma": 0}, {"sigma": np.inf}, {"scale": -1}])
def test_bad_numbers(options):
    with pytest.raises(InputError, match="must be positive"):
        cmmd(np.eye(3), np.eye(3), **options)
