import threading

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.seeds import Stream, check_seed, generator, noise, permutation


def test_is_numpys_philox_with_this_key_and_counter():
    """The documented layout: key (seed, picture), counter (position, position, stream, step)."""
    philox = np.random.Philox(key=np.array([7, 3], np.uint64), counter=np.array([0, 0, 1, 5], np.uint64))
    expected = np.random.Generator(philox).standard_normal(50, dtype=np.float32)
    assert np.array_equal(noise([(7, 3)], (50,), Stream.STEP, 5)[0].numpy(), expected)
    assert np.array_equal(generator(7, 3, Stream.STEP, 5).standard_normal(50, dtype=np.float32), expected)


def test_the_numbers_never_change():
    """Pinned: another numpy, or another layout, that gave other pictures for the same seed would show here."""
    pinned = [0.059911035001277924, 0.015559634193778038, -1.1644384860992432, -0.13264712691307068]
    assert noise([0], (4,))[0].tolist() == pytest.approx(pinned, abs=1e-7)


def test_depends_on_everything_and_on_nothing_else():
    base = noise([1], (8,))
    assert torch.equal(base[0], noise([5, 1, 9], (8,))[1])  # not on the batch
    noise([4], (3,))  # nor on what was drawn before, of any odd number
    assert torch.equal(base, noise([1], (8,)))
    others = [noise([2], (8,)), noise([(1, 1)], (8,)), noise([1], (8,), Stream.STEP), noise([1], (8,), step=1)]
    for other in others:
        assert not torch.equal(base, other)


def test_is_standard_normal():
    values = noise(range(64), (3, 32, 32)).double()
    assert values.mean().item() == pytest.approx(0, abs=5 / values.numel() ** 0.5)
    assert values.var().item() == pytest.approx(1, abs=5 * (2 / values.numel()) ** 0.5)
    neighbours = (values[1:] * values[:-1]).mean().item()  # seeds next to each other are unrelated
    assert neighbours == pytest.approx(0, abs=5 / values.numel() ** 0.5)


def test_threads_do_not_disturb_each_other():
    expected = {seed: noise([seed], (1000,)) for seed in range(8)}
    wrong = []

    def work(seed):
        wrong.extend(seed for _ in range(50) if not torch.equal(noise([seed], (1000,)), expected[seed]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_permutation():
    order = permutation(1000, seed=1, stream=Stream.ORDER)
    assert sorted(order) == list(range(1000))
    assert np.array_equal(order, permutation(1000, 1, Stream.ORDER))
    assert not np.array_equal(order, permutation(1000, 1, Stream.ORDER, epoch=1))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "7", None, True])
def test_refuses_what_is_no_seed(seed):
    with pytest.raises(InputError, match="a seed is a whole number"):
        check_seed(seed)
