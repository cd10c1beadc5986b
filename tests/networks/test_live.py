"""What is counted, against what one counts by hand."""

import pytest
import torch

from sfumato.networks.attend import attend
from sfumato.networks.kernels.build import library
from sfumato.networks.kernels.kept import KEPT
from sfumato.networks.kernels.winograd import spread_bytes
from sfumato.networks.layers import ResBlock, conv
from sfumato.networks.live import kept_bytes, most_live_bytes


def empty(*shape, dtype=torch.float32):
    return torch.empty(shape, device="meta", dtype=dtype)


def test_a_tensor_counts_from_its_making_to_its_end():
    def work():
        a = empty(1000)
        b = a + 1  # 2
        b.mul_(2).view(10, 100)  # nothing new
        del a
        c = b.half()  # 1.5
        del b
        return c.double() + c  # 0.5 + 2 + 2, the half of it being cast inside of the kernel

    assert most_live_bytes(work) == 4500 * 4


def test_weights_that_were_there_do_not_count():
    weights = empty(1000)
    assert most_live_bytes(lambda: weights[:10] + weights.t()[:10]) == 40


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_residual_block(dtype):
    """Its input, what is normalised last, and that normalised; and 4 means and deviations of each picture."""
    with torch.device("meta"):
        block = ResBlock(8, 8, None, groups=4).to(dtype).eval()
    expected = (3 * (2 * 8 * 16 * 16) + 2 * (2 * 4)) * dtype.itemsize
    assert most_live_bytes(lambda: block(empty(2, 8, 16, 16, dtype=dtype))) == expected


def test_what_a_convolution_takes_for_itself():
    """Its weights again; or its input nine times, but for a kernel of one position."""
    with torch.device("meta"):
        layer = conv(16, 32)
    plain = 4 * (16 + 32) * 64
    assert most_live_bytes(lambda: layer(empty(1, 16, 8, 8))) == plain
    assert most_live_bytes(lambda: layer(empty(1, 16, 8, 8)), scratch="reordered") == plain + 4 * 16 * 32 * 9
    assert most_live_bytes(lambda: layer(empty(1, 16, 8, 8)), scratch="unfolded") == plain + 4 * 16 * 9 * 64
    with torch.device("meta"):
        point = conv(16, 32, size=1)
    assert most_live_bytes(lambda: point(empty(1, 16, 8, 8)), scratch="unfolded") == plain


@pytest.mark.skipif(library() is None, reason="needs a C++ compiler, for the kernels")
def test_what_our_own_convolution_takes_for_itself(monkeypatch):
    """All 72 tiles' inputs at 36 places, which one block holds; and of two panels of outputs, of 16 or 32 by processor,
    weights and products."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with torch.device("meta"):
        layer = conv(64, 64)
    found = most_live_bytes(lambda: layer(empty(1, 64, 32, 36)), scratch="reordered") - 4 * 2 * 64 * 32 * 36
    inputs, panels = 72 * 64, [2 * panel * (64 + 72) for panel in (16, 32)]
    assert any(4 * 36 * (inputs + both) <= found <= 4 * 36 * (inputs + both + 1024) for both in panels)


@pytest.mark.skipif(library() is None, reason="needs a C++ compiler, for the kernels")
def test_what_convolutions_keep():
    """The weights of a few tiles, once for each layer, as far as there is room."""
    with torch.device("meta"):
        layers = [conv(64, 64) for _ in range(3)]

    def work():
        x = empty(1, 64, 16, 16)
        for layer in [*layers, *layers]:
            layer(x)

    one = spread_bytes(64, 64, 2)  # 16 tiles of 4x4 are too few
    assert kept_bytes(work, "reordered") == 3 * one
    assert kept_bytes(work, "reordered", most=2 * one + 1) == 2 * one
    assert kept_bytes(work, "unfolded") == 0
    kept, none = (most_live_bytes(lambda n=n: layers[0](empty(n, 64, 16, 16)), scratch="reordered") for n in (2, 8))
    assert none - kept > spread_bytes(64, 64, 4)  # what is not kept is made for the call


@pytest.mark.skipif(library() is None, reason="needs a C++ compiler, for the kernels")
def test_what_is_said_to_be_kept_is_kept():
    layers, before = [conv(64, 64).eval() for _ in range(2)], KEPT.bytes
    x = torch.randn(1, 64, 16, 16)
    with torch.no_grad():
        for layer in [*layers, *layers]:
            layer(x)
    with torch.device("meta"):
        shapes = [conv(64, 64) for _ in range(2)]
    said = kept_bytes(lambda: [layer(empty(1, 64, 16, 16)) for layer in shapes], "reordered")
    assert KEPT.bytes - before == said


def test_attention_holds_its_scores_or_not():
    """Fused: q, k, v and the result. Otherwise the scores and their softmax, of all queries that are taken at once."""
    size, scores = 4 * 2 * 64 * 8, 4 * 2 * 64 * 64

    def work(most=None):
        q, k, v = (empty(1, 2, 64, 8) for _ in range(3))
        return attend(q, k, v, most_scores=most)

    assert most_live_bytes(work) == 4 * size
    assert 2 * scores <= most_live_bytes(work, fused=False) - 3 * size <= 2 * scores + 4 * size
    assert most_live_bytes(lambda: work(scores // 4 // 8), fused=False) <= 2 * scores // 8 + 7 * size
