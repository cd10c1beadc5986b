import numpy as np
import pytest
import torch

from exact import SCHEDULES, Gaussian, doubles
from sfumato.diffusion.bound import variational_bound
from sfumato.diffusion.progressive import rate_distortion
from sfumato.errors import InputError

SHORT = SCHEDULES["short"]
TRUTH = Gaussian(SHORT, mean=0.1, std=0.25)
BYTES = (127.5 * (1.1 + 0.25 * doubles(4, 20_000))).round().clamp(0, 255) / 127.5 - 1


def test_rates_add_up_and_errors_are_those_of_the_best_guess():
    """The error of E[x_0|x_t] on Gaussian data is known: std·σ/√(α²·std² + σ²)."""
    bound = variational_bound(SHORT, TRUTH.denoise, BYTES, range(4))
    curve = rate_distortion(bound)
    np.testing.assert_array_equal(curve.times, np.arange(10, -1, -1) / 10)
    torch.testing.assert_close(curve.rate[:, 0], bound.prior)
    torch.testing.assert_close(curve.rate[:, 3], bound.prior + bound.terms[:, :3].sum(1))
    torch.testing.assert_close(curve.rate[:, -1], bound.total)
    for k, t in enumerate(curve.times[:-1]):
        expected = 127.5 * 0.25 * SHORT.sigma(t) / TRUTH.marginal(t)[1] ** 0.5
        assert curve.rmse[:, k].mean().item() == pytest.approx(expected, rel=0.01)
    assert (curve.rmse[:, -1] == 0).all()


def test_terms_in_any_order_make_the_same_curve():
    one = rate_distortion(variational_bound(SHORT, TRUTH.denoise, BYTES, range(4)))
    two = rate_distortion(variational_bound(SHORT, TRUTH.denoise, BYTES, range(4), only=list(range(9, -1, -1))))
    torch.testing.assert_close(two.rate, one.rate)
    torch.testing.assert_close(two.rmse, one.rmse)


@pytest.mark.parametrize("arguments", [{"only": [0, 1]}, {"only": [0] * 10}, {"decoder": "density"}])
def test_what_is_no_curve(arguments):
    with pytest.raises(InputError, match="needs every term"):
        rate_distortion(variational_bound(SHORT, TRUTH.denoise, BYTES[:, :4], range(4), **arguments))
