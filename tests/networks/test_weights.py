import pytest
import torch

from sfumato.errors import InputError
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.networks.weights import with_tensors

CONFIG = UNetConfig(
    in_channels=4, channels=32, multipliers=(1, 2), attention_levels=(0, 1), heads=4, groups=8, context=16, labels=(3,)
)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def state():
    """Weights that keep the scale of what passes through."""
    places = UNet(CONFIG).state_dict()
    spreads = {name: 0.3 if value.ndim < 2 else value[0].numel() ** -0.5 for name, value in places.items()}
    return {name: drawn(*places[name].shape, seed=i) * spread for i, (name, spread) in enumerate(spreads.items())}


STATE = state()
MASK = torch.arange(7) < torch.tensor([[3], [7]])


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize(("dtype", "digits"), [(torch.bfloat16, 8), (torch.float16, 11)])
def test_half_precision_is_as_near_as_its_digits_allow(dtype, digits, mask):
    """Errors of single roundings, 2**-digits, add up like a random walk over the network's hundred operations."""
    condition = Condition(labels=torch.tensor([[1], [2]]), context=drawn(2, 7, 16), mask=mask)
    x, t = drawn(2, 4, 16, 16), torch.tensor([0.3, 0.9])
    expected = with_tensors(UNet, CONFIG, STATE)(x, t, condition)
    network = with_tensors(UNet, CONFIG, STATE, dtype)
    assert {p.dtype for p in network.parameters()} == {dtype}
    found = network(x, t, condition)
    assert found.dtype == torch.float32
    error = (found - expected).norm() / expected.norm()
    assert 2.0 ** -(digits + 3) < error < 4 * 2.0**-digits


def test_the_time_is_embedded_in_full_precision():
    """bfloat16 has 8 digits: it cannot tell 998 from 1000, but the network must."""
    network = with_tensors(UNet, CONFIG, STATE, torch.bfloat16)
    x, condition = drawn(1, 4, 8, 8), Condition(context=drawn(1, 7, 16))
    assert not torch.equal(network(x, 0.998, condition), network(x, 1.0, condition))


def test_weights_are_copies_in_the_layout_that_convolutions_like():
    network = with_tensors(UNet, CONFIG, STATE)
    for name, value in network.state_dict().items():
        assert torch.equal(value, STATE[name])
        assert value.data_ptr() != STATE[name].data_ptr()
        assert value.ndim < 4 or value.is_contiguous(memory_format=torch.channels_last)


def test_numbers_too_large_for_the_type():
    large = STATE | {"enter.bias": torch.full((32,), 1e5)}
    with pytest.raises(InputError, match=r"enter\.bias holds numbers too large for float16; take bfloat16"):
        with_tensors(UNet, CONFIG, large, torch.float16)
    with_tensors(UNet, CONFIG, large, torch.bfloat16)
