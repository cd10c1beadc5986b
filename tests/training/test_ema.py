import pytest
import torch
from torch import nn

from sfumato.training.ema import Average, decay


def test_half_is_gone_after_a_halflife():
    kept = 1.0
    for seen in range(100_010, 101_010, 10):
        kept *= decay(10, seen, halflife=1000, rampup=0.05)
    assert kept == pytest.approx(0.5)


def test_early_on_the_halflife_is_a_share_of_what_was_seen():
    assert decay(10, 400, halflife=1000, rampup=0.05) == pytest.approx(0.5 ** (10 / 20))
    assert decay(32, 32, halflife=1000, rampup=0.05) < 1e-5  # the initial weights are all but forgotten


def test_is_the_weighted_sum_it_should_be():
    """average after n updates = Π keep·w₀ + Σ (1 - keep_i)·Π_{j>i} keep_j·w_i, summed by hand."""
    model = nn.Linear(2, 1, bias=False)
    average, keeps = Average(model), [0.5, 0.8, 0.9]
    history = [model.weight.detach().clone()]
    for keep in keeps:
        with torch.no_grad():
            model.weight.add_(1.0)
        history.append(model.weight.detach().clone())
        average.update(model, keep)
    expected = 0.5 * 0.8 * 0.9 * history[0] + 0.5 * 0.8 * 0.9 * history[1] + 0.2 * 0.9 * history[2] + 0.1 * history[3]
    torch.testing.assert_close(average.values["weight"], expected)
    assert not torch.equal(average.values["weight"], model.weight)
