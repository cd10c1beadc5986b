import numpy as np
import pytest
import torch

from sfumato.training.importance import FLOOR, MEMORY, Importance


def taught(losses: list[float]) -> Importance:
    sampler, steps = Importance(len(losses)), torch.arange(1, len(losses) + 1).double() / len(losses)
    for _ in range(MEMORY):
        sampler.learn(steps, torch.tensor(losses))
    return sampler


def spread(count: int) -> np.ndarray:
    return ((np.arange(count) + 0.5) * (2**64 / count)).astype(np.uint64)


def test_all_steps_alike_until_each_has_enough_losses():
    sampler = Importance(4)
    for _ in range(MEMORY):
        sampler.learn(torch.tensor([0.25, 0.5, 0.75]), torch.tensor([1.0, 2.0, 3.0]))
    assert sampler.chances().tolist() == [0.25] * 4
    t, weights = sampler.draw(spread(8))
    assert t.tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    assert weights.tolist() == [1.0] * 8


def test_chances_are_the_root_mean_square_of_the_latest_losses():
    sampler = taught([1.0, 2.0, 5.0])
    share = np.array([1.0, 2.0, 5.0]) / 8
    np.testing.assert_allclose(sampler.chances(), (1 - FLOOR) * share + FLOOR / 3)
    for loss in (7.0, 0.0, 7.0, 0.0, 7.0):  # five of the ten are replaced
        sampler.learn(torch.tensor([1 / 3]), torch.tensor([loss]))
    first = ((5 * 1.0 + 3 * 49.0) / 10) ** 0.5
    share = np.array([first, 2.0, 5.0]) / (first + 7)
    np.testing.assert_allclose(sampler.chances(), (1 - FLOOR) * share + FLOOR / 3)


def test_weights_are_unbiased():
    """Σ p_t·w_t·f(t) is the plain mean of f, exactly and as drawn."""
    sampler, f = taught([0.1, 3.0, 0.5, 8.0, 0.01]), torch.tensor([3.0, -1.0, 7.0, 0.5, 2.0]).double()
    t, weights = sampler.draw(spread(100_000))
    index = (t * 5).round().long() - 1
    assert torch.equal(t, (index + 1).double() / 5)
    torch.testing.assert_close(sampler.chances()[index] * weights, torch.full_like(weights, 0.2))
    assert (weights * f[index]).mean().item() == pytest.approx(f.mean().item(), abs=2e-3)
    counts = torch.bincount(index, minlength=5) / 100_000
    torch.testing.assert_close(counts.double(), sampler.chances(), rtol=0, atol=2e-5)


def test_the_last_fraction_is_the_last_step_and_losses_of_nothing_are_borne():
    assert taught([1.0, 2.0]).draw(np.array([2**64 - 1], np.uint64))[0].item() == 1
    halves = Importance(2).draw(np.array([2**63 - 2**12, 2**63], np.uint64))[0]
    assert halves.tolist() == [0.5, 1.0]
    assert taught([0.0, 0.0]).chances().tolist() == [0.5, 0.5]


def test_its_state_is_all_there_is():
    sampler = taught([1.0, 2.0, 5.0])
    sampler.learn(torch.tensor([1 / 3]), torch.tensor([9.0]))
    again = Importance(3)
    again.load_state_dict(sampler.state_dict())
    for each in (sampler, again):
        each.learn(torch.tensor([1 / 3, 1.0]), torch.tensor([4.0, 0.5]))
    assert torch.equal(sampler.chances(), again.chances())
