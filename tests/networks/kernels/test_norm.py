"""The normalisation against float64, for every shape that it takes; at least as exact as torch's own."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.networks.kernels import build, norm
from sfumato.networks.kernels.norm import GroupNorm, normalised, plainly_normalised

pytestmark = pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")
ERROR = 2e-6  # of the largest number


def made(n, c, height, width, added=False, film=False, shift=0.0, seed=0) -> list[Any]:
    draw = torch.Generator().manual_seed(seed)
    shapes = [(n, c, height, width), (c,), (c,), (n, c) if added else None, (n, 2 * c) if film else None]
    tensors: list[Any] = [None if shape is None else torch.randn(shape, generator=draw) for shape in shapes]
    tensors[0] = (2 * tensors[0] + shift).contiguous(memory_format=torch.channels_last)
    return tensors


def results(function, tensors, groups, silu, dtype=torch.float32):
    """The result, and all gradients for one drawn for it."""
    tensors = [None if t is None else t.to(dtype).detach().requires_grad_() for t in tensors]
    y = function(*tensors, groups, 1e-6, silu)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, [t for t in tensors if t is not None], gradient.to(dtype))]


def errors(found, exact):
    """Of the result and of all gradients, shares of the largest number, there or in the gradient of x.

    (What is added to all of a group changes nothing: where a channel is a group, that gradient is 0.)
    """
    floors = [0.0, *[exact[1].abs().max().item()] * (len(exact) - 1)]
    return [
        (one - other).abs().max().item() / max(other.abs().max().item(), floor)
        for one, other, floor in zip(found, exact, floors, strict=True)
    ]


@given(
    n=st.integers(1, 5),
    width_of_group=st.integers(1, 9),
    groups=st.sampled_from([8, 16, 32]),
    height=st.integers(1, 13),
    width=st.integers(3, 13),  # of two numbers next to nothing is left: they become ±1
    added=st.booleans(),
    film=st.booleans(),
    silu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_result_and_gradients_are_those_of_float64(n, width_of_group, groups, height, width, added, film, silu, seed):
    tensors = made(n, width_of_group * groups, height, width, added, film, seed=seed)
    found = results(normalised, tensors, groups, silu)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    exact = results(plainly_normalised, tensors, groups, silu, torch.float64)
    assert max(errors(found, exact)) < ERROR


@pytest.mark.parametrize(
    ("n", "c", "groups", "side"), [(1, 1024, 32, 5), (64, 32, 32, 4), (2, 8, 1, 67), (1, 64, 64, 33), (3, 2048, 32, 3)]
)
def test_extreme_shapes(n, c, groups, side):
    tensors = made(n, c, side, side, added=True, film=True)
    exact = results(plainly_normalised, tensors, groups, True, torch.float64)
    assert max(errors(results(normalised, tensors, groups, True), exact)) < ERROR


@pytest.mark.parametrize("shift", [0.0, 100.0, 3e4])
def test_not_less_exact_than_torch(shift):
    """Also where the mean is far larger than what lies around it."""
    tensors = made(4, 64, 16, 16, shift=shift)
    exact = results(plainly_normalised, tensors, 32, True, torch.float64)
    ours, torchs = (errors(results(f, tensors, 32, True), exact) for f in (normalised, plainly_normalised))
    assert all(one < max(other, 4e-7) for one, other in zip(ours, torchs, strict=True))
    assert max(ours) < ERROR


def test_silu_of_all_sizes_of_numbers():
    """From where SiLU is 0 over where it is curved to where it is its argument."""
    z = torch.linspace(-120, 120, 4801)[: 8 * 600].reshape(1, 1, 600, 8)
    x = torch.cat([z, -z], 1).reshape(1, 2, 600, 8).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    root = x.double().square().mean((0, 2, 3)).add(1e-6).sqrt().float()  # symmetric: mean 0
    weight, bias = root, torch.zeros(8)
    found = normalised(x, weight, bias, None, None, 8, 1e-6, True)
    exact = plainly_normalised(x.double(), weight.double(), bias.double(), None, None, 8, 1e-6, True)
    assert (found - exact).abs().max() < 2e-5  # of 120
    small = exact.abs() < 1
    assert (found - exact)[small].abs().max() < 4e-7


def test_the_number_of_threads_changes_no_bit():
    before = torch.get_num_threads()
    try:
        for n, c, side in ((1, 64, 40), (3, 128, 9), (16, 32, 8)):
            tensors, found = made(n, c, side, side, added=True, film=True), []
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                found.append(results(normalised, tensors, 32, True))
            for other in found[1:]:
                assert all(map(torch.equal, other, found[0]))
    finally:
        torch.set_num_threads(before)


def test_a_picture_is_the_same_in_any_batch():
    x, weight, bias, _, film = made(5, 64, 12, 12, film=True)
    whole = normalised(x, weight, bias, None, film, 32, 1e-6, True)
    alone = normalised(x[3:4], weight, bias, None, film[3:4], 32, 1e-6, True)
    assert torch.equal(whole[3:4], alone)


@given(
    n=st.integers(1, 4),
    first=st.integers(1, 5),
    others=st.integers(1, 5),
    side=st.integers(3, 9),
    added=st.booleans(),
    film=st.booleans(),
    seed=st.integers(0, 99),
)
def test_channels_in_two_tensors_are_those_of_one(n, first, others, side, added, film, seed):
    """Bit for bit, also where a group, a quarter of the channels, begins in one and ends in the other."""
    whole, c = made(n, 8 * (first + others), side, side, added, film, seed=seed), 8 * first
    x, weight, bias, to_add, to_scale = whole
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    joined = results(normalised, whole, 4, True)
    parts = [t.clone().requires_grad_() for t in (x[:, :c], x[:, c:])]
    leaves = [t.requires_grad_() for t in (weight, bias, to_add, to_scale) if t is not None]
    y = normalised(parts[0], weight, bias, to_add, to_scale, 4, 1e-6, True, parts[1])
    assert torch.equal(y, joined[0])
    plain = plainly_normalised(parts[0], weight, bias, to_add, to_scale, 4, 1e-6, True, parts[1])
    assert torch.equal(plain, plainly_normalised(x, weight, bias, to_add, to_scale, 4, 1e-6, True))
    found = torch.autograd.grad(y, [*parts, *leaves], gradient)
    assert torch.equal(torch.cat(found[:2], 1), joined[1])
    assert all(map(torch.equal, found[2:], joined[2:]))


def test_second_gradients_of_two_tensors_are_those_of_one():
    found = []
    for parted in (True, False):
        x, weight, bias = (t.detach().requires_grad_() for t in made(2, 32, 6, 7)[:3])
        parts = (x[:, :8], x[:, 8:]) if parted else (x, None)
        y = normalised(parts[0], weight, bias, None, None, 8, 1e-6, True, parts[1])
        first = torch.autograd.grad(y.pow(3).sum(), (x, weight, bias), create_graph=True)
        found.append(torch.autograd.grad(torch.stack([g.square().mean() for g in first]).sum(), (x, weight, bias)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_any_order_in_memory():
    x, weight, bias, added, film = made(2, 32, 5, 7, added=True, film=True)
    expected = normalised(x, weight, bias, added, film, 32, 1e-6, True)
    assert torch.equal(normalised(x.contiguous(), weight, bias, added, film, 32, 1e-6, True), expected)
    wide = torch.stack([film, film], 2)[..., 0]
    assert torch.equal(normalised(x, weight, bias, added, wide, 32, 1e-6, True), expected)
    assert torch.equal(torch.ops.sfumato.normalised(x, weight, bias, added, film, 32, 1e-6, True, None)[0], expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_not_hidden(bad):
    x, weight, bias, _, _ = made(2, 32, 6, 6)
    x[0, 5, 2, 3] = bad
    found = normalised(x, weight, bias, None, None, 16, 1e-6, True)
    assert found[0, 4:6].isnan().all()  # its group
    assert found[0, 6:].isfinite().all()
    assert found[1].isfinite().all()


def test_second_gradients_are_those_of_float64():
    found = []
    for function, dtype in ((normalised, torch.float32), (plainly_normalised, torch.float64)):
        x, weight, bias = (t.to(dtype).detach().requires_grad_() for t in made(2, 16, 6, 7)[:3])
        y = function(x, weight, bias, None, None, 8, 1e-6, True)
        first = torch.autograd.grad(y.pow(3).sum(), (x, weight, bias), create_graph=True)
        found.append(torch.autograd.grad(torch.stack([g.square().mean() for g in first]).sum(), (x, weight, bias)))
    assert max(errors(*found)) < 2e-5


def test_torch_knows_the_operation():
    for added, film in ((True, False), (False, True), (False, False)):
        tensors = [None if t is None else t.requires_grad_() for t in made(2, 16, 5, 6, added, film)]
        beside = torch.randn(2, 16, 5, 6, requires_grad=True) if film else None
        if beside is not None:
            tensors[1:3] = (torch.randn(32, requires_grad=True) for _ in range(2))
            tensors[4] = torch.randn(2, 64, requires_grad=True)
        torch.library.opcheck(torch.ops.sfumato.normalised, (*tensors, 8, 1e-6, True, beside))


# ---- the layer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "dtype"), [(36, torch.float32), (32, torch.float64), (32, torch.bfloat16)])
def test_whatever_else_goes_torchs_way(channels, dtype, monkeypatch):
    layer, x = GroupNorm(4, channels, 1e-6, silu=True).to(dtype), torch.randn(2, channels, 5, 5, dtype=dtype)
    monkeypatch.setattr(norm, "normalised", None)
    assert torch.equal(layer(x), torch.nn.functional.silu(torch.nn.GroupNorm.forward(layer, x)))
    with torch.no_grad():
        assert torch.equal(layer(x), torch.nn.functional.silu(torch.nn.GroupNorm.forward(layer, x)))


def test_autocast_and_the_switch_leave_the_kernel_out(monkeypatch):
    layer, x = GroupNorm(4, 32, 1e-6), torch.randn(2, 32, 5, 5)
    expected = torch.nn.GroupNorm.forward(layer, x)
    assert (layer(x) - expected).abs().max() < 1e-6
    monkeypatch.setattr(norm, "normalised", None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    monkeypatch.setattr(norm, "available", lambda: False)
    assert torch.equal(layer(x), expected)


def test_exported_graphs_hold_the_operation():
    layer, x = GroupNorm(4, 32, 1e-6, silu=True), torch.randn(2, 32, 5, 5)
    graph = torch.export.export(layer, (x,))
    assert any("sfumato.normalised" in str(node.target) for node in graph.graph.nodes)
    assert torch.equal(graph.module()(x), layer(x))
