import math

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.evaluation.similarity import psnr, ssim

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (2, 20, 17, 3), dtype=np.uint8)


def test_psnr_of_a_constant_error():
    dark = np.full((3, 4, 4, 1), 100, np.uint8)
    assert psnr(dark, dark + 5) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(dark, dark - 5) == psnr(dark, dark + 5)
    assert psnr(dark, dark) is None


def test_psnr_is_of_the_mean_error_over_all_pictures():
    one = np.zeros((2, 2, 2, 1), np.uint8)
    other = one.copy()
    other[1] = 10  # errors 0 and 100
    assert psnr(one, other) == pytest.approx(10 * math.log10(255**2 / 50))


def test_equal_pictures_have_ssim_one():
    np.testing.assert_allclose(ssim(NOISE, NOISE), 1, rtol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0, 255), (100, 120), (7, 3)])
def test_ssim_of_constant_pictures(a, b):
    """Without variance only the first factor is left: (2ab + C1)/(a² + b² + C1)."""
    one, other = (np.full((1, 12, 15, 3), v, np.uint8) for v in (a, b))
    c1 = (0.01 * 255) ** 2
    assert ssim(one, other) == pytest.approx([(2 * a * b + c1) / (a**2 + b**2 + c1)], rel=1e-9)


def gauss():
    weight = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    return weight / weight.sum()


def test_a_constant_shift_costs_luminance_only():
    """Variances and covariance are equal, so the second factor is 1; the first is known where the mean is."""
    base = np.zeros((1, 11, 11, 1), np.uint8)  # one window only
    base[0, :, :, 0] = RNG.integers(0, 200, (11, 11))
    mean = gauss() @ base[0, :, :, 0] @ gauss()
    c1 = (0.01 * 255) ** 2
    expected = (2 * mean * (mean + 40) + c1) / (mean**2 + (mean + 40) ** 2 + c1)
    assert ssim(base, base + 40) == pytest.approx([expected], rel=1e-9)


def test_ssim_is_that_of_a_slow_loop():
    """Window by window, channel by channel, with the central moments written out (Wang et al., eq. 14 to 16)."""
    one, other = NOISE, (NOISE * 0.6 + RNG.integers(0, 100, NOISE.shape)).astype(np.uint8)
    weight = np.outer(gauss(), gauss())
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = []
    for a, b in zip(one.astype(float), other.astype(float), strict=True):
        values = []
        for c in range(3):
            for i in range(a.shape[0] - 10):
                for j in range(a.shape[1] - 10):
                    x, y = a[i : i + 11, j : j + 11, c], b[i : i + 11, j : j + 11, c]
                    mx, my = (weight * x).sum(), (weight * y).sum()
                    vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
                    cov = (weight * (x - mx) * (y - my)).sum()
                    values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
        expected.append(np.mean(values))
    np.testing.assert_allclose(ssim(one, other), expected, rtol=1e-9)
    np.testing.assert_allclose(ssim(one, other, batch=1), expected, rtol=1e-9)
    np.testing.assert_allclose(ssim(other, one), expected, rtol=1e-9)


def test_bad_pictures_are_told():
    with pytest.raises(InputError, match="of one shape"):
        psnr(NOISE, NOISE[:1])
    with pytest.raises(InputError, match="of one shape"):
        ssim(NOISE[0], NOISE[0])
    with pytest.raises(InputError, match="at least 11 x 11, not 10 x 17"):
        ssim(NOISE[:, :10], NOISE[:, :10])
