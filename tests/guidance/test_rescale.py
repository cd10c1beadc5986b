import pytest
import torch

from exact import SCHEDULES, doubles
from sfumato.diffusion.prediction import from_x0, to_x0
from sfumato.errors import InputError
from sfumato.guidance.rescale import check_rescale, rescaled


def test_by_hand():
    """std 2 → 1 and 4 → 2 (of each picture for itself); φ = ½ goes half the way; the mean is scaled too."""
    guided = torch.tensor([[[1.0, 3.0, 5.0]], [[4.0, 8.0, 12.0]]])
    conditional = torch.tensor([[[0.0, 1.0, 2.0]], [[5.0, 7.0, 9.0]]])
    torch.testing.assert_close(rescaled(guided, conditional, 1.0), guided / 2)
    torch.testing.assert_close(rescaled(guided, conditional, 0.5), guided * 0.75)


@pytest.mark.parametrize("phi", [0.2, 0.7, 1.0])
def test_the_spread_is_the_mean_of_the_two_spreads(phi):
    guided, conditional = 3 * doubles(4, 2, 5, 5) + 0.4, doubles(4, 2, 5, 5, seed=1)
    found = rescaled(guided, conditional, phi).flatten(1).std(1)
    torch.testing.assert_close(found, phi * conditional.flatten(1).std(1) + (1 - phi) * guided.flatten(1).std(1))


def test_phi_zero_changes_no_bit():
    guided = doubles(2, 3)
    assert rescaled(guided, doubles(2, 3, seed=1), 0.0) is guided


@pytest.mark.parametrize(("prediction", "t", "same"), [("x0", 0.4, True), ("v", 1.0, True), ("v", 0.4, False)])
def test_where_it_is_what_the_paper_does_to_the_networks_output(prediction, t, same):
    """Equations 15 and 16 on the output, converted to x̂0, as the docstring says."""
    schedule, phi = SCHEDULES["cosine-zsnr"], 0.7
    alpha, sigma, xt = schedule.alpha(t), schedule.sigma(t), doubles(3, 50, seed=2)
    guided, conditional = 2 * doubles(3, 50), doubles(3, 50, seed=1)
    noise = [xt if sigma == 1 else (xt - alpha * x0) / sigma for x0 in (guided, conditional)]
    raw, wanted = (
        from_x0(prediction, x0, eps, alpha, sigma) for x0, eps in zip((guided, conditional), noise, strict=True)
    )
    paper = phi * raw * (wanted.std(1) / raw.std(1))[:, None] + (1 - phi) * raw
    there = to_x0(prediction, paper, xt, alpha, sigma)
    assert torch.allclose(rescaled(guided, conditional, phi), there, rtol=1e-9, atol=1e-12) == same


def test_a_flat_picture_stays_and_nan_is_not_hidden():
    flat = torch.full((1, 4), 0.3)
    assert torch.equal(rescaled(flat, torch.arange(4.0)[None], 0.7), flat)
    for bad in (float("nan"), float("inf")):
        assert not rescaled(torch.tensor([[0.0, bad, 1.0]]), torch.arange(3.0)[None], 0.7).isfinite().any()


@pytest.mark.parametrize("phi", [-0.1, 1.1, float("nan")])
def test_impossible_shares(phi):
    with pytest.raises(InputError, match="guidance_rescale lies between 0"):
        check_rescale(phi)
