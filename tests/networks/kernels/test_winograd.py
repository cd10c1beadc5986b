"""The kernel against float64, for every shape that it takes; and that nothing but speed depends on it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.networks.kernels import build
from sfumato.networks.kernels.winograd import conv3x3, convolved, spread, weight_gradient

pytestmark = pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")
ERROR = 2e-5  # of the largest number; F(4x4, 3x3) in float32 is about three times as inexact as a plain sum


def made(n, c, k, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, height, width, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(k, c, 3, 3, generator=generator) / (3 * c**0.5)
    return x, weight, torch.randn(k, generator=generator)


def check(found, expected):
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= ERROR * expected.abs().max()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 5),
    c=st.integers(1, 9),
    k=st.integers(1, 9),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    seed=st.integers(0, 99),
)
def test_convolution_and_both_gradients_are_those_of_float64(n, c, k, height, width, seed):
    x, weight, bias = made(n, 8 * c, 8 * k, height, width, seed)
    ours = [t.clone().requires_grad_() for t in (x, weight, bias)]
    exact = [t.double().requires_grad_() for t in (x, weight, bias)]
    found, expected = conv3x3(ours[0], ours[1], ours[2]), F.conv2d(exact[0], exact[1], exact[2], padding=1)
    check(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed))
    found.backward(gradient)
    expected.backward(gradient.double())
    for one, other in zip(ours, exact, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        check(one.grad, other.grad)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 5),
    c=st.integers(1, 9),
    k=st.integers(1, 9),
    height=st.integers(1, 11),
    width=st.integers(1, 11),
)
def test_small_tiles_are_those_of_float64(n, c, k, height, width):
    x, weight, bias = made(n, 8 * c, 8 * k, height, width)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    check(convolved(x, spread(weight, 2), bias, 8 * k, 2), expected)


@pytest.mark.parametrize("side", [2, 4])
@pytest.mark.parametrize(("n", "c", "k", "size"), [(2, 1024, 8, 4), (1, 8, 1024, 5), (64, 32, 32, 4), (1, 64, 64, 65)])
def test_extreme_shapes(n, c, k, size, side):
    x, weight, bias = made(n, c, k, size, size)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    check(convolved(x, spread(weight, side), bias, k, side), expected)


def test_second_gradients_are_those_of_float64():
    """The three operations are each other's gradients."""
    found = []
    for dtype in (torch.float32, torch.float64):
        x, weight, _ = (t.to(dtype).requires_grad_() for t in made(2, 16, 24, 6, 7))
        y = conv3x3(x, weight, None) if dtype == torch.float32 else F.conv2d(x, weight, padding=1)
        first = torch.autograd.grad(y.pow(3).sum(), (x, weight), create_graph=True)
        penalty = torch.stack([g.square().mean() for g in first]).sum()
        found.append(torch.autograd.grad(penalty, (x, weight)))
    for one, other in zip(*found, strict=True):
        check(one, other)


def test_a_single_one_gives_the_weights_back():
    """Every tap where it belongs: an input of one pixel makes the kernel, turned by 180°."""
    weight = torch.arange(9.0).reshape(1, 1, 3, 3).expand(8, 8, 3, 3).contiguous()
    x = torch.zeros(1, 8, 9, 9)
    x[0, 2, 4, 4] = 1
    expected = torch.zeros(9, 9)
    expected[3:6, 3:6] = torch.arange(9.0).reshape(3, 3).flip(0, 1)
    torch.testing.assert_close(conv3x3(x, weight, None)[0, 5], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 40, 24, 4, 4), (3, 32, 72, 13, 9), (16, 24, 32, 16, 16)])
def test_what_is_added_is_added_once_and_its_gradient_is_that_of_the_sum(shape):
    x, weight, bias = made(*shape)
    added = torch.randn(shape[0], shape[2], *shape[3:])  # in another order in memory than the result
    plain = conv3x3(x, weight, bias)
    check(conv3x3(x, weight, bias, False, added), (plain + added).double())
    check(convolved(x, spread(weight, 2), bias, shape[2], 2, added), (plain + added).double())
    added.requires_grad_()
    gradient = torch.randn(plain.shape)
    conv3x3(x, weight, bias, False, added).backward(gradient)
    assert added.grad is not None
    assert torch.equal(added.grad, gradient)


def test_any_order_in_memory():
    x, weight, bias = made(2, 16, 24, 6, 10)
    expected = conv3x3(x, weight, bias)
    assert torch.equal(torch.ops.sfumato.conv3x3(x, weight, bias, False, None), expected)
    for one in (x.contiguous(), x.transpose(2, 3).contiguous().transpose(2, 3)):
        for other in (weight, weight.contiguous(memory_format=torch.channels_last)):
            assert torch.equal(conv3x3(one, other, bias), expected)
    assert torch.equal(conv3x3(x, weight, None) + bias[:, None, None], expected)


def test_the_number_of_threads_changes_no_bit():
    before = torch.get_num_threads()
    try:
        for shape in ((3, 32, 40, 13, 9), (1, 64, 64, 4, 4), (16, 32, 32, 16, 16)):
            x, weight, bias = made(*shape)
            gradient = torch.randn(shape[0], shape[2], *shape[3:])
            results = []
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                small = convolved(x, spread(weight, 2), bias, shape[2], 2)
                results.append((conv3x3(x, weight, bias), weight_gradient(x, gradient), small))
            for result in results[1:]:
                assert all(map(torch.equal, result, results[0]))
    finally:
        torch.set_num_threads(before)


def test_nan_stays_nan():
    x, weight, bias = made(1, 8, 8, 12, 12)
    x[0, 3, 6, 6] = float("nan")
    found = conv3x3(x, weight, bias).isnan()
    assert found[:, :, 5:8, 5:8].all()
    assert not found[:, :, :2].any()  # of other tiles nothing


def test_torch_knows_the_operation():
    x, weight, bias = (t.requires_grad_() for t in made(2, 8, 16, 5, 6))
    added = torch.randn(2, 16, 5, 6, requires_grad=True)
    torch.library.opcheck(torch.ops.sfumato.conv3x3, (x, weight, bias, False, added))
    torch.library.opcheck(torch.ops.sfumato.conv3x3, (torch.randn(2, 16, 5, 6), weight, None, True, None))
    gradient = torch.randn(2, 16, 5, 6, requires_grad=True)
    torch.library.opcheck(torch.ops.sfumato.conv3x3_weight_gradient, (x, gradient))


def test_averages_over_many_pictures_are_unbiased():
    """Rounding does not lean to one side: the mean error is far below the largest."""
    x, weight, bias = made(16, 64, 64, 16, 16)
    error = (conv3x3(x, weight, bias) - F.conv2d(x.double(), weight.double(), bias.double(), padding=1)).numpy()
    assert abs(error.mean()) < 1e-2 * np.abs(error).max()
