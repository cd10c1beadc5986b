import math

import numpy as np
import pytest

from sfumato.discrete.betas import check_betas, cosine, linear, mutual_information
from sfumato.errors import InputError


def test_linear():
    np.testing.assert_allclose(linear(5, 0.1, 0.5), [0.1, 0.2, 0.3, 0.4, 0.5])
    assert (linear(1000)[0], linear(1000)[-1]) == (1e-4, 2e-2)


def test_cosine_keeps_the_cosine():
    kept = np.cumprod(1 - cosine(50))
    angle = [(t / 50 + 0.008) / 1.008 * math.pi / 2 for t in range(1, 51)]
    np.testing.assert_allclose(kept, np.cos(angle) / math.cos(0.008 / 1.008 * math.pi / 2), atol=1e-12)
    assert cosine(50)[-1] == 1


def test_mutual_information_forgets_the_same_share_at_every_step():
    betas = mutual_information(7)
    np.testing.assert_allclose(betas, [1 / 7, 1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 1])
    np.testing.assert_allclose(np.cumprod(1 - betas), 1 - np.arange(1, 8) / 7, atol=1e-15)
    assert betas[-1] == 1


@pytest.mark.parametrize("make", [linear, cosine, mutual_information])
@pytest.mark.parametrize("steps", [0, -1, 2.0, True, 100_001])
def test_steps(make, steps):
    with pytest.raises(InputError, match="whole number of steps"):
        make(steps)


@pytest.mark.parametrize("betas", [[], [0.0], [1.1], [-0.1, 0.5], [math.nan], 0.5, [[0.5]]])
def test_what_is_no_beta(betas):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        check_betas(betas)
    if np.ndim(betas) == 0:
        with pytest.raises(InputError, match="above 0 and at most 1"):
            linear(3, -0.1, 0.5)


def test_one_step():
    for make in (cosine, mutual_information):
        np.testing.assert_array_equal(make(1), [1.0])
