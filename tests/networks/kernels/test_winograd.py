"""The kernel against float64, for every shape that it takes; and that nothing but speed depends on it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.networks.kernels import build, winograd
from sfumato.networks.kernels.winograd import Conv2d, conv3x3

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
    found, expected = conv3x3(*ours), F.conv2d(exact[0], exact[1], exact[2], padding=1)
    check(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed))
    found.backward(gradient)
    expected.backward(gradient.double())
    for one, other in zip(ours, exact, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        check(one.grad, other.grad)


@pytest.mark.parametrize(("n", "c", "k", "side"), [(2, 1024, 8, 4), (1, 8, 1024, 5), (64, 32, 32, 4), (1, 64, 64, 65)])
def test_extreme_shapes(n, c, k, side):
    x, weight, bias = made(n, c, k, side, side)
    check(conv3x3(x, weight, bias), F.conv2d(x.double(), weight.double(), bias.double(), padding=1))


def test_a_single_one_gives_the_weights_back():
    """Every tap where it belongs: an input of one pixel makes the kernel, turned by 180°."""
    weight = torch.arange(9.0).reshape(1, 1, 3, 3).expand(8, 8, 3, 3).contiguous()
    x = torch.zeros(1, 8, 9, 9)
    x[0, 2, 4, 4] = 1
    expected = torch.zeros(9, 9)
    expected[3:6, 3:6] = torch.arange(9.0).reshape(3, 3).flip(0, 1)
    torch.testing.assert_close(conv3x3(x, weight, None)[0, 5], expected, rtol=0, atol=1e-4)


def test_any_order_in_memory():
    x, weight, bias = made(2, 16, 24, 6, 10)
    expected = conv3x3(x, weight, bias)
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
                results.append((conv3x3(x, weight, bias), winograd.conv3x3_weight_gradient(x, gradient)))
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
    torch.library.opcheck(conv3x3, (x, weight, bias))
    torch.library.opcheck(conv3x3, (x, weight, None))
    torch.library.opcheck(winograd.conv3x3_weight_gradient, (x.detach(), torch.randn(2, 16, 5, 6)))


# ---- the layer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_the_layer_is_torchs_layer(size, monkeypatch):
    torch.manual_seed(0)
    ours, plain = Conv2d(32, 40, size, padding=size // 2), torch.nn.Conv2d(32, 40, size, padding=size // 2)
    plain.load_state_dict(ours.state_dict())
    x, _, _ = made(9, 32, 40, 12, 9)
    calls = []
    monkeypatch.setattr(winograd, "conv3x3", lambda *args: calls.append(1) or conv3x3(*args))
    outputs, gradients = [], []
    for layer in (ours, plain):
        y = layer(x)
        outputs.append(y.detach())
        gradients.append(torch.autograd.grad(y.square().sum(), list(layer.parameters())))
    check(outputs[0], outputs[1])
    for one, other in zip(*gradients, strict=True):
        check(one, other)
    assert len(calls) == (size == 3)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (Conv2d(32, 32, 3, stride=2, padding=1), torch.randn(4, 32, 16, 16)),
        (Conv2d(32, 32, 3), torch.randn(4, 32, 16, 16)),
        (Conv2d(32, 32, 3, padding=1).double(), torch.randn(4, 32, 16, 16).double()),
        (Conv2d(33, 32, 3, padding=1), torch.randn(4, 33, 16, 16)),  # not a multiple of 8
        (Conv2d(256, 256, 3, padding=1), torch.randn(1, 256, 12, 16)),  # few tiles
        (Conv2d(32, 32, 3, padding=1), torch.randn(1024, 32, 1, 1)),  # mostly border
        (Conv2d(32, 32, 3, padding=1), torch.randn(3, 32, 16, 16)),  # little work
        (Conv2d(32, 32, 3, padding=1, groups=2), torch.randn(4, 32, 16, 16)),
        (Conv2d(32, 32, 3, padding=2, dilation=2), torch.randn(4, 32, 16, 16)),
    ],
    ids=["stride", "no border", "float64", "33 channels", "few tiles", "border", "small", "groups", "dilation"],
)
def test_whatever_else_goes_torchs_way(layer, x, monkeypatch):
    monkeypatch.setattr(winograd, "conv3x3", None)
    assert torch.equal(layer(x), torch.nn.Conv2d.forward(layer, x))


def test_autocast_and_the_switch_leave_the_kernel_out(monkeypatch):
    layer, x = Conv2d(32, 32, 3, padding=1), torch.randn(4, 32, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    monkeypatch.setattr(winograd, "library", lambda: None)
    monkeypatch.setattr(winograd, "conv3x3", None)
    assert torch.equal(layer(x), torch.nn.Conv2d.forward(layer, x))


def test_compiled_and_exported_graphs_hold_the_operation():
    layer, x = Conv2d(32, 32, 3, padding=1), torch.randn(4, 32, 16, 16)
    graph = torch.export.export(layer, (x,))
    assert any("sfumato.conv3x3" in str(node.target) for node in graph.graph.nodes)
    assert torch.equal(graph.module()(x), layer(x))


def test_averages_over_many_pictures_are_unbiased():
    """Rounding does not lean to one side: the mean error is far below the largest."""
    x, weight, bias = made(16, 64, 64, 16, 16)
    error = (conv3x3(x, weight, bias) - F.conv2d(x.double(), weight.double(), bias.double(), padding=1)).numpy()
    assert abs(error.mean()) < 1e-2 * np.abs(error).max()
