import pytest
import torch

from sfumato.networks.discriminator import PatchDiscriminator
from sfumato.training.adversarial import adaptive_weight, discriminator_loss, fooling_loss


def test_hinge_loss_by_hand():
    """Real 2, 0.5, -1: 0, ½, 2. Made -3, 0, 1: 0, 1, 2."""
    real, made = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert discriminator_loss(real, made).item() == pytest.approx(0.5 * (2.5 / 3 + 3 / 3))
    assert fooling_loss(made).item() == pytest.approx(2 / 3)


def test_the_best_answer_to_the_hinge_is_the_sign_of_the_density_gap():
    """Of two points, x mostly real (0.8 against 0.2) and y mostly made, the minimum lies at D(x) = 1, D(y) = -1."""
    answers = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([answers], lr=0.1)
    real, made = torch.tensor([0] * 8 + [1] * 2), torch.tensor([0] * 2 + [1] * 8)
    for _ in range(200):
        optimizer.zero_grad()
        discriminator_loss(answers[real], answers[made]).backward()
        optimizer.step()
    torch.testing.assert_close(answers.detach(), torch.tensor([1.0, -1.0]), atol=0.1, rtol=0)


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    """For losses a·w and b·w the gradients are a and b themselves."""
    w = torch.randn(5, 3, requires_grad=True)
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    found = adaptive_weight((a * w).sum(), (b * w).sum(), w)
    torch.testing.assert_close(found, a.norm() / (b.norm() + 1e-6))
    assert not found.requires_grad
    torch.testing.assert_close(adaptive_weight((a * w).sum(), (a * w).sum() * 4, w), torch.tensor(0.25))
    assert adaptive_weight((a * w).sum(), (b * w).sum() * 0, w).item() == 1e4


@pytest.mark.parametrize(("layers", "patches"), [(1, 8), (2, 4), (3, 2)])
def test_one_number_for_each_patch_that_sees_its_surroundings_only(layers, patches):
    judge = PatchDiscriminator(3, 8, layers)
    x = torch.randn(2, 3, 16, 16)
    said = judge(x)
    assert said.shape == (2, 1, patches, patches)
    torch.testing.assert_close(judge(x[:1]), said[:1], rtol=1e-4, atol=1e-5)  # pictures do not speak of each other
    said.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())
    assert {m.out_channels for m in judge.modules() if isinstance(m, torch.nn.Conv2d)} == {1} | {
        8 * 2**i for i in range(layers + 1)
    }
