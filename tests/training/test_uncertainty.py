import math

import pytest
import torch

from sfumato.training.uncertainty import Uncertainty


def test_begins_at_no_weight_at_all():
    u = Uncertainty(0)
    assert u(torch.tensor([-math.inf, -3.0, 0.0, 14.0, math.inf])).tolist() == [0.0] * 5


def test_ends_at_the_logarithm_of_the_loss_at_each_noise_level():
    """Two levels whose losses are 0.1 and 4: both then contribute 1 + log L."""
    u, levels, losses = Uncertainty(1), torch.tensor([6.0, -2.0]), torch.tensor([0.1, 4.0])
    optimizer = torch.optim.LBFGS(u.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def total() -> torch.Tensor:
        optimizer.zero_grad()
        said = u(levels)
        value = (losses / said.exp() + said).sum()
        value.backward()
        return value

    least = optimizer.step(total)
    torch.testing.assert_close(u(levels), losses.log(), rtol=1e-3, atol=1e-3)
    assert total().item() == pytest.approx(2 + math.log(0.4), abs=1e-4)
    assert least is not None


def test_neighbouring_levels_are_alike_and_the_seed_decides():
    u = Uncertainty(2)
    torch.nn.init.normal_(u.layer.weight, generator=torch.Generator().manual_seed(0))
    near, far = (u(torch.tensor([3.0, other])).diff().abs().item() for other in (3.001, 9.0))
    assert near < far / 100
    assert torch.equal(Uncertainty(2).phases, u.phases)
    assert not torch.equal(Uncertainty(3).phases, u.phases)


def test_waves_are_in_a_quarter_of_the_logarithm_of_the_noise():
    """One wave alone: √2·cos(2π·f·c + φ) with c = ¼·ln(σ/α), and no further than where λ = ±20."""
    u = Uncertainty(3)
    with torch.no_grad():
        u.layer.weight[0, 5] = 0.7
    for noise in (0.1, 1.0, 8.0):
        wave = math.cos(u.frequencies[5].item() * math.log(noise) / 4 + u.phases[5].item())
        assert u(torch.tensor([-2 * math.log(noise)])).item() == pytest.approx(0.7 * 2**0.5 * wave, abs=1e-5)
    torch.testing.assert_close(u(torch.tensor([math.inf, 21.0])), u(torch.tensor([20.0, 20.0])))
