"""EDM's preconditioning (Karras et al. 2022, table 1) in our one language."""

import math

import numpy as np
import pytest
import torch

from exact import SCHEDULES, doubles
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError

LEVELS = (0.002, 0.3, 0.5, 2.0, 80.0)


@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
@pytest.mark.parametrize("level", LEVELS)
def test_as_the_table_has_it(level, sigma_data):
    """D(x; σ) = c_skip·x + c_out·F(c_in·x; c_noise), and λ(σ)·c_out² = 1."""
    schedule = SCHEDULES["edm"]
    diffusion, t = Diffusion(schedule, "F", sigma_data), schedule.time(-2 * math.log(level))
    x, output = doubles(2, 3, 2, 2), doubles(2, 3, 2, 2, seed=1)
    total = level**2 + sigma_data**2
    c_skip, c_out = sigma_data**2 / total, level * sigma_data / total**0.5
    torch.testing.assert_close(diffusion.denoised(output, x, t), c_skip * x + c_out * output)
    torch.testing.assert_close(diffusion.network_input(x, t), x / total**0.5)
    assert diffusion.network_time(t) == pytest.approx(math.log(level) / 4, abs=1e-9)
    x0, eps, times = doubles(2, 3, 2, 2, seed=2), doubles(2, 3, 2, 2, seed=3), torch.tensor([t, t])
    guess = diffusion.denoised(output, x0 + level * eps, t)
    expected = total / (level * sigma_data) ** 2 * (guess - x0).square().mean((1, 2, 3))
    for weighting in ("edm", "simple"):
        torch.testing.assert_close(diffusion.loss(output, x0, times, eps, weighting), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t", [0.001, 0.2, 0.6, 1.0])
def test_inputs_and_targets_have_unit_variance_and_share_nothing(name, t):
    """Of independent x_0 with deviation σ_d and ε with 1; that they are uncorrelated is what makes c_out smallest."""
    diffusion, sigma_data = Diffusion(SCHEDULES[name], "F", 0.3), 0.3
    x0, eps = torch.tensor([[[sigma_data], [0.0]], [[0.0], [1.0]]], dtype=torch.float64)  # a basis
    given = diffusion.network_input(diffusion.noisy(x0, t, eps), t)
    target = diffusion.target(x0, t, eps)
    assert given.square().sum().item() == pytest.approx(1)
    assert target.square().sum().item() == pytest.approx(1)
    assert (given * target).sum().item() == pytest.approx(0, abs=1e-9)


def test_is_minus_v_where_variance_is_preserved_and_the_data_has_variance_one():
    x0, eps, t = doubles(3, 4), doubles(3, 4, seed=1), torch.tensor([0.1, 0.5, 1.0]).double()
    schedule = SCHEDULES["cosine-zsnr"]
    torch.testing.assert_close(
        Diffusion(schedule, "F", 1.0).target(x0, t, eps), -Diffusion(schedule).target(x0, t, eps)
    )


def test_the_network_is_told_a_finite_time_everywhere():
    for name in SCHEDULES:
        diffusion = Diffusion(SCHEDULES[name], "F")
        t = torch.from_numpy(np.linspace(0, 1, 11))
        told = diffusion.network_time(t)
        assert isinstance(told, torch.Tensor)
        assert told.isfinite().all()
        assert told.tolist() == [diffusion.network_time(v) for v in t.tolist()]
        plain = Diffusion(SCHEDULES[name])
        assert plain.network_time(t) is t


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan, math.inf])
def test_bad_input(sigma_data):
    with pytest.raises(InputError, match="sigma_data"):
        Diffusion(SCHEDULES["edm"], "F", sigma_data)
