"""The two problems: data that depend on seed and number alone, and judgement of samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench.coverage.digits import DigitNet, accuracy, shrunk, trained
from bench.coverage.endless import BLOCK, rows
from bench.coverage.gaussians import CENTRES, NEAR, SCALE, STD, Gaussians, nearest_mode
from bench.coverage.problem import Judged, score
from bench.coverage.stacked import StackedMnist, mode_of, stack
from torch import Tensor

from sfumato.seeds import Stream, generator


class Brightness(DigitNet):
    """Takes a picture's level, -1, -0.9 …, for its digit; it is sure of levels below 0."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        level = x.mean((1, 2, 3))
        digit = ((level + 1) * 10).round().long().clamp(0, 9)
        logits = torch.nn.functional.one_hot(digit, 10) * torch.where(level < -0.45, 10.0, 1.0)[:, None]
        return logits, level[:, None]


def levels(digits: Tensor) -> Tensor:
    """Digits (…) as pictures that `Brightness` reads."""
    return (digits / 10 - 1)[..., None, None].expand(*digits.shape, 12, 12)


def test_the_grid() -> None:
    assert CENTRES.shape == (25, 2)
    assert {tuple(c) for c in CENTRES} == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}


def test_the_nearest_mode() -> None:
    offsets = np.array([[0, 0], [0.149, 0], [0, -0.151], [0.1, 0.1], [0.11, 0.11], [0.99, 0.99]])
    modes, near = nearest_mode(CENTRES[7] + offsets)
    assert modes.tolist() == [7] * 6
    assert near.tolist() == [True, True, False, True, False, False]
    assert NEAR == 3 * STD == pytest.approx(0.15)


def test_gaussians() -> None:
    problem = Gaussians()
    points = problem.train(0, 0, 20_000)
    assert points.std(0).tolist() == pytest.approx([1, 1], abs=0.01)
    judged = problem.judge(points)
    found = score(judged, 25)
    assert found.modes == found.modes_named == 25
    assert found.good == pytest.approx(1 - np.exp(-4.5), abs=0.003)  # Rayleigh: P(r ≤ 3σ)
    assert found.kl == pytest.approx(24 / 40_000, abs=6e-4)
    within = (judged.features - CENTRES[judged.modes]) / STD
    assert within.std() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(judged.features, points.double().numpy() * SCALE)


def test_a_number_is_the_same_sample_in_any_batch() -> None:
    problem = Gaussians()
    long = problem.train(4, BLOCK - 20, 40)  # over the end of a block
    assert torch.equal(problem.train(4, BLOCK - 3, 6), long[17:23])
    assert not torch.equal(problem.train(5, BLOCK - 3, 6), long[17:23])
    table = stack(4, BLOCK - 20, 40, 60_000)
    assert np.array_equal(stack(4, BLOCK - 3, 6, 60_000), table[17:23])
    assert not np.array_equal(stack(5, BLOCK - 3, 6, 60_000), table[17:23])
    assert stack(0, 2 * BLOCK, 1, 10).shape == (1, 3)


def test_a_row_is_that_of_its_place_in_its_block() -> None:
    def draw(random: np.random.Generator, count: int) -> np.ndarray:
        return random.random((count, 2))

    for number in (0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 7):
        expected = draw(generator(6, number // BLOCK, Stream.ORDER), BLOCK)[number % BLOCK]
        assert np.array_equal(rows(6, number, 1, draw), expected[None])


def test_digits_of_a_stack_are_independent_and_evenly_drawn() -> None:
    table = stack(0, 0, 30_000, 10)
    counts = np.bincount(mode_of(table), minlength=1000)
    assert counts.min() > 0
    chi_square = ((counts - 30) ** 2 / 30).sum()
    assert abs(chi_square - 999) < 4 * (2 * 999) ** 0.5


def test_the_mode_of_three_digits() -> None:
    assert mode_of(np.array([[1, 2, 3], [0, 0, 0], [9, 9, 9], [0, 1, 0]])).tolist() == [123, 0, 999, 10]


def test_stacked_pictures_are_the_digits_drawn() -> None:
    train = levels(torch.arange(10.0))[:, None]
    problem = StackedMnist(train, train.flip(0), Brightness())
    drawn = stack(2, 100, 50, 10)
    judged = problem.judge(problem.train(2, 100, 50))
    assert judged.modes.tolist() == mode_of(drawn).tolist()
    assert judged.good.tolist() == (drawn <= 5).all(1).tolist()
    np.testing.assert_allclose(judged.features, drawn / 10 - 1, atol=1e-6)
    held_out = problem.judge(problem.held_out(2, 50))
    assert held_out.modes.tolist() == mode_of(9 - stack(2, 0, 50, 10)).tolist()


def test_samples_beyond_the_range_are_cut() -> None:
    problem = StackedMnist(torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12), Brightness())
    assert problem.judge(torch.full((1, 3, 12, 12), -7.0)).features.tolist() == [[-1.0] * 3]


def test_score() -> None:
    judged = Judged(np.array([0, 0, 1, 3]), np.array([True, False, False, True]), np.zeros((4, 1)))
    found = score(judged, 4)
    assert (found.modes, found.modes_named, found.good, found.n) == (2, 3, 0.5, 4)
    assert found.reverse_kl is None
    assert found.kl == pytest.approx(np.log(4) - 1.5 * np.log(2))


def test_digits_are_shrunk_by_means() -> None:
    images = np.zeros((1, 28, 28, 1), np.uint8)
    images[0, 1, 2], images[0, 2, 2], images[0, 3, 3], images[0, 25, 24], images[0, 26, 24] = 9, 255, 51, 102, 9
    small = (shrunk(images)[0, 0] + 1) * 127.5
    assert small.shape == (12, 12)
    assert small[0, 0].item() == pytest.approx((255 + 51) / 4, abs=1e-4)
    assert small[11, 11].item() == pytest.approx(102 / 4, abs=1e-4)
    assert small.sum().item() == pytest.approx((255 + 51 + 102) / 4, abs=1e-2)


def test_the_classifier_learns() -> None:
    kinds = torch.randn(10, 1, 12, 12)
    labels = torch.arange(2000) % 10
    x = kinds[labels] + 0.5 * torch.randn(2000, 1, 12, 12)
    net = trained(x, labels)
    assert accuracy(net, kinds, torch.arange(10)) == 1
    assert accuracy(net, kinds, (torch.arange(10) + (torch.arange(10) < 3)) % 10) == pytest.approx(0.7)
    again = trained(x, labels)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
