"""The GANs' losses against formulas written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench.coverage.losses import NON_SATURATING, RELATIVISTIC, gradient_penalty

REAL, MADE = torch.tensor([0.3, -1.2, 2.5]), torch.tensor([1.1, -0.4, -3.0])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_non_saturating() -> None:
    real, made = REAL.double().numpy(), MADE.double().numpy()
    telling = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(made)).mean()
    assert NON_SATURATING.discriminator(REAL, MADE).item() == pytest.approx(telling, rel=1e-6)
    assert NON_SATURATING.generator(REAL, MADE).item() == pytest.approx(-np.log(sigmoid(made)).mean(), rel=1e-6)


def test_a_generator_that_fools_nobody_still_learns() -> None:
    made = torch.tensor([-30.0], requires_grad=True)
    NON_SATURATING.generator(made, made).backward()
    assert made.grad is not None
    assert made.grad.item() == pytest.approx(-1)  # the saturating loss has e⁻³⁰ there


def test_relativistic() -> None:
    gap = REAL.double().numpy() - MADE.double().numpy()  # in pairs, not of all with all
    assert RELATIVISTIC.discriminator(REAL, MADE).item() == pytest.approx(-np.log(sigmoid(gap)).mean(), rel=1e-6)
    assert RELATIVISTIC.generator(REAL, MADE).item() == pytest.approx(-np.log(sigmoid(-gap)).mean(), rel=1e-6)
    shifted = RELATIVISTIC.discriminator(REAL + 7, MADE + 7)
    torch.testing.assert_close(shifted, RELATIVISTIC.discriminator(REAL, MADE))


@pytest.mark.parametrize("loss", [NON_SATURATING, RELATIVISTIC])
def test_whether_the_generator_looks_at_real_pictures(loss) -> None:
    assert bool(loss.generator(REAL, MADE) != loss.generator(REAL + 1, MADE)) == loss.compares


def test_gradient_penalty_of_a_quadratic() -> None:
    """D(x) = xᵀAx + bᵀx: ∇D = g = (A + Aᵀ)x + b, and the penalty's gradient by A is the mean of 2·(g·xᵀ + x·gᵀ)."""
    random = torch.Generator().manual_seed(1)
    A = torch.randn(6, 6, dtype=torch.float64, generator=random).requires_grad_()
    b = torch.randn(6, dtype=torch.float64, generator=random)
    pictures = torch.randn(5, 2, 3, dtype=torch.float64, generator=random).requires_grad_()
    x = pictures.flatten(1)
    penalty = gradient_penalty(((x @ A) * x).sum(1) + x @ b, pictures)
    rows, slope = x.detach(), x.detach() @ (A + A.T).detach() + b
    assert penalty.item() == pytest.approx((slope**2).sum().item() / 5)
    penalty.backward()
    products = torch.einsum("ni,nj->ij", slope, rows) / 5
    torch.testing.assert_close(A.grad, 2 * (products + products.T))
