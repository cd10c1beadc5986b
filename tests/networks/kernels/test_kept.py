"""Kept weights: never stale, never more than there is room for."""

import copy
import gc

import pytest
import torch

from sfumato.networks.kernels import build
from sfumato.networks.kernels.conv import Conv2d
from sfumato.networks.kernels.kept import Kept
from sfumato.networks.kernels.winograd import spread, spread_bytes

pytestmark = pytest.mark.skipif(build.library() is None, reason="needs a C++ compiler")


def layer(channels=16):
    return Conv2d(channels, channels, 3, padding=1).eval().requires_grad_(False)


def right(kept, conv, side=4):
    """Whether what is given is what the weights make now."""
    size = spread_bytes(conv.in_channels, conv.out_channels, side) // 4
    fresh = spread(conv.weight, side)
    again, given = (t[: 16 * conv.in_channels] for t in (fresh, kept(conv, side)))  # the first place has no gaps
    return len(fresh) == size and torch.equal(again, given)


def test_a_second_call_makes_nothing():
    kept, conv = Kept(), layer()
    assert kept(conv, 4) is kept(conv, 4)
    assert kept.bytes == spread_bytes(16, 16, 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda conv: conv.weight.mul_(2),
        lambda conv: conv.weight.data.mul_(2),  # which torch does not count
        lambda conv: conv.weight.numpy().__imul__(2),
        lambda conv: setattr(conv.weight, "data", 2 * conv.weight.data),
        lambda conv: setattr(conv, "weight", torch.nn.Parameter(2 * conv.weight, requires_grad=False)),
        lambda conv: conv.load_state_dict({k: 2 * v for k, v in conv.state_dict().items()}),
        lambda conv: conv.load_state_dict({k: 2 * v for k, v in conv.state_dict().items()}, assign=True),
        lambda conv: conv.to(memory_format=torch.channels_last).weight.mul_(3),
    ],
    ids=["in place", "data", "numpy", "new data", "new parameter", "load", "assign", "order"],
)
def test_changed_weights_are_seen(change):
    kept, conv = Kept(), layer()
    before = kept(conv, 4)[:256].clone()
    change(conv)
    assert right(kept, conv)
    assert not torch.equal(kept(conv, 4)[:256], before)


def test_one_kind_at_a_time():
    kept, conv = Kept(), layer()
    for side in (4, 2, 4):
        assert right(kept, conv, side)
        assert kept.bytes == spread_bytes(16, 16, side)


def test_no_more_than_there_is_room_for():
    kept, layers = Kept(2 * spread_bytes(16, 16, 4)), [layer() for _ in range(3)]
    for _ in range(2):
        assert all(right(kept, conv) for conv in layers)
        assert kept.bytes == kept.most_bytes
    del layers[:2]
    gc.collect()
    assert kept.bytes == 0  # the third found no room
    assert right(kept, layers[0])
    assert kept.bytes == spread_bytes(16, 16, 4)


def test_a_copy_has_its_own():
    kept, conv = Kept(), layer()
    kept(conv, 4)
    other = copy.deepcopy(conv)
    other.weight.mul_(2)
    assert right(kept, other)
    assert right(kept, conv)


def test_usual_weights_in_inference_mode():
    kept, conv = Kept(), layer()
    with torch.inference_mode():
        assert right(kept, conv)
        assert kept(conv, 4) is kept(conv, 4)
    conv.weight.mul_(2)
    assert right(kept, conv)


def test_weights_of_inference_mode_are_not_kept():
    with torch.inference_mode():
        kept, conv = Kept(), layer()
        assert right(kept, conv)
        conv.weight.mul_(2)
        assert right(kept, conv)
    assert kept.bytes == 0
