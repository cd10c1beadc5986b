"""Which way a convolution goes; and that it is torch's convolution whichever it goes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sfumato.networks.kernels import build, conv, norm
from sfumato.networks.kernels.conv import Conv2d
from sfumato.networks.kernels.kept import KEPT
from sfumato.networks.kernels.norm import GroupNorm
from sfumato.networks.kernels.winograd import conv3x3
from sfumato.networks.layers import ResBlock

pytestmark = pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")
ERROR = 2e-5  # of the largest number


def check(found, expected):
    assert (found - expected).abs().max() <= ERROR * expected.abs().max()


@pytest.mark.parametrize("size", [1, 3])
def test_the_layer_is_torchs_layer(size, monkeypatch):
    ours, plain = Conv2d(32, 40, size, padding=size // 2), torch.nn.Conv2d(32, 40, size, padding=size // 2)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(9, 32, 12, 9)
    calls = []
    monkeypatch.setattr(conv, "conv3x3", lambda *args: calls.append(1) or conv3x3(*args))
    outputs, gradients = [], []
    for layer in (ours, plain):
        y = layer(x)
        outputs.append(y.detach())
        gradients.append(torch.autograd.grad(y.square().sum(), list(layer.parameters())))
    check(outputs[0], outputs[1])
    for one, other in zip(*gradients, strict=True):
        check(one, other)
    assert len(calls) == (size == 3)


@pytest.mark.parametrize("learns", [False, True])
def test_of_channels_in_two_tensors_it_is_that_of_both_joined(learns):
    layer, x, beside = Conv2d(24, 16, 1), torch.randn(3, 8, 5, 7), torch.randn(3, 16, 5, 7)
    added, double = torch.randn(3, 16, 5, 7), torch.nn.Conv2d(24, 16, 1).double()
    double.load_state_dict(layer.state_dict())
    joined = torch.cat([x, beside], dim=1).double()
    with torch.set_grad_enabled(learns):
        y, expected = layer(x, added, beside), double(joined) + added
        check(y, expected)
    if learns:
        for one, other in zip(
            torch.autograd.grad(y.square().sum(), list(layer.parameters())),
            torch.autograd.grad(expected.square().sum(), list(double.parameters())),
            strict=True,
        ):
            check(one, other)


@pytest.mark.parametrize("resample", [None, "down", "up"])
@pytest.mark.parametrize("channels", [24, 32])  # with a convolution beside the block, and without
def test_a_block_of_channels_in_two_tensors_is_that_of_both_joined(channels, resample):
    block = ResBlock(channels, 32, 12, groups=4, resample=resample)
    torch.nn.init.normal_(block.conv2.weight, std=0.1)
    x, beside, embedding = torch.randn(2, 8, 8, 8), torch.randn(2, channels - 8, 8, 8), torch.randn(2, 12)
    check(block(x, embedding, beside), block(torch.cat([x, beside], dim=1), embedding))


@pytest.mark.parametrize("kernels", [True, False])
def test_a_block_joins_nothing_or_without_kernels_once(kernels, monkeypatch):
    block, joins, cat = ResBlock(24, 32, None, groups=4), [], torch.cat
    monkeypatch.setattr(norm, "available", lambda: kernels)
    monkeypatch.setattr(torch, "cat", lambda *args, **named: joins.append(1) or cat(*args, **named))
    block(torch.randn(2, 8, 8, 8), None, torch.randn(2, 16, 8, 8))
    assert len(joins) == (not kernels)


@given(
    n=st.integers(1, 64),
    c=st.integers(1, 70),
    k=st.integers(1, 70),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    training=st.booleans(),
)
def test_any_shape_is_that_of_float64(n, c, k, height, width, training):
    layer, x = Conv2d(c, k, 3, padding=1).train(training), torch.randn(n, c, height, width)
    with torch.set_grad_enabled(training):
        check(layer(x), layer.double()(x.double()))


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (Conv2d(32, 32, 3, stride=2, padding=1), torch.randn(4, 32, 16, 16)),
        (Conv2d(32, 32, 3), torch.randn(4, 32, 16, 16)),
        (Conv2d(32, 32, 3, padding=1).double(), torch.randn(4, 32, 16, 16).double()),
        (Conv2d(33, 32, 3, padding=1), torch.randn(4, 33, 16, 16)),  # not a multiple of 8
        (Conv2d(256, 256, 3, padding=1), torch.randn(1, 256, 8, 12)),  # few tiles
        (Conv2d(32, 32, 3, padding=1), torch.randn(1024, 32, 1, 1)),  # mostly border
        (Conv2d(32, 32, 3, padding=1), torch.randn(1, 32, 8, 24)),  # little work
        (Conv2d(32, 32, 3, padding=1, groups=2), torch.randn(4, 32, 16, 16)),
        (Conv2d(32, 32, 3, padding=2, dilation=2), torch.randn(4, 32, 16, 16)),
        (Conv2d(32, 32, 3, padding=1), torch.randn(32, 64, 64)),  # no batch
    ],
    ids=["stride", "no border", "float64", "33 channels", "few tiles", "border", "small", "groups", "dilation", "3D"],
)
def test_whatever_else_goes_torchs_way(layer, x, monkeypatch):
    monkeypatch.setattr(conv, "conv3x3", None)
    assert torch.equal(layer(x), torch.nn.Conv2d.forward(layer, x))


@pytest.mark.parametrize("shape", [(4, 40, 16, 16), (4, 24, 16, 16)])
def test_a_wrong_number_of_channels_is_torchs_error(shape):
    with pytest.raises(RuntimeError, match="channels"):
        Conv2d(32, 32, 3, padding=1)(torch.randn(shape))
    with pytest.raises(RuntimeError, match=r"number of (input )?channels|weight"):
        GroupNorm(4, 32, 1e-6)(torch.randn(shape))


def test_what_does_not_lie_beside_it_or_cannot_be_added_is_torchs_error():
    x, smaller = torch.randn(4, 32, 16, 16), torch.randn(4, 32, 8, 8)
    with pytest.raises(RuntimeError, match="size"):
        GroupNorm(4, 64, 1e-6)(x, beside=smaller)
    with pytest.raises(RuntimeError, match="size"):
        Conv2d(64, 32, 1)(x, beside=smaller)
    for kernel in (1, 3):
        with pytest.raises(RuntimeError, match="size"):
            Conv2d(32, 32, kernel, padding=kernel // 2)(x, added=smaller)


@pytest.mark.parametrize(("n", "size", "side"), [(1, 8, 2), (1, 16, 2), (2, 16, 4), (1, 32, 4)])
def test_without_gradients_weights_are_kept(n, size, side, monkeypatch):
    layer, x = Conv2d(64, 64, 3, padding=1).eval(), torch.randn(n, 64, size, size)
    assert conv.side_of(x.shape, 64) == side
    monkeypatch.setattr(conv, "conv3x3", None)
    before = KEPT.bytes
    with torch.no_grad():
        check(layer(x), torch.nn.Conv2d.forward(layer, x))
        assert KEPT.bytes > before
    layer.train()
    assert KEPT.bytes == before


def test_what_has_many_tiles_keeps_nothing():
    layer, before = Conv2d(64, 64, 3, padding=1).eval(), KEPT.bytes
    with torch.no_grad():
        layer(torch.randn(5, 64, 16, 16))
    assert KEPT.bytes == before


def test_autocast_and_the_switch_leave_the_kernel_out(monkeypatch):
    layer, x = Conv2d(32, 32, 3, padding=1), torch.randn(4, 32, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    monkeypatch.setattr(conv, "available", lambda: False)
    monkeypatch.setattr(conv, "conv3x3", None)
    assert torch.equal(layer(x), torch.nn.Conv2d.forward(layer, x))


def test_exported_graphs_hold_the_operation():
    layer, x = Conv2d(32, 32, 3, padding=1), torch.randn(4, 32, 16, 16)
    graph = torch.export.export(layer, (x,))
    assert any("sfumato.conv3x3" in str(node.target) for node in graph.graph.nodes)
    assert torch.equal(graph.module()(x), layer(x))


def test_modes_see_the_operation():
    """What counts or traces single operations must not be passed by."""
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        Conv2d(32, 32, 3, padding=1)(torch.randn(4, 32, 16, 16))
    assert any("sfumato.conv3x3" in name for name in seen)
