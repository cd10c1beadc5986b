"""Factors beside frozen layers: nothing at first, and then exactly what the layers with merged weights put out."""

import copy
from dataclasses import replace

import pytest
import torch

from foreign import awake, noisy
from sfumato.errors import InputError
from sfumato.models.convert.lora import merged_unet
from sfumato.models.convert.to_lora import lora_of
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.lora import Factors, adapt, adaptable
from sfumato.networks.unet import UNet

RANK, ALPHA = 3, 2.0
PLAIN = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(1,), head_channels=4, groups=4, labels=(3,))
TEXT = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(0,), heads=2, groups=4, context=6)
NETWORKS = {
    "plain": PLAIN,
    "text": TEXT,
    "end": replace(PLAIN, resample="conv-end"),
    "residual": replace(PLAIN, resample="residual"),
    "wide": replace(PLAIN, channels=32, head_channels=32),  # wide enough for our own convolution
    "patches": replace(PLAIN, patch=2, time_embedding="shift"),
}


def case(config, side=16):
    """A network of random weights, and what it is given."""
    x, context, labels = noisy(config, side)
    return awake(UNet(config)), (x, 0.3, Condition(labels=labels, context=context))


def grad(p):
    """The gradient, as a matrix."""
    assert p.grad is not None
    return p.grad.flatten(1)


def learned(factors):
    """Random factors, as after some training."""
    with torch.no_grad():
        for name, p in factors.named_parameters():
            p.copy_(torch.randn(p.shape) * (0.3 if "up" in name else 1.0) * p[0].numel() ** -0.5)
    return factors


def factors_at(factors, name) -> Factors:
    """Those of a layer."""
    found = factors[name.replace(".", "_")]
    assert isinstance(found, Factors)
    return found


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_begins_exactly_as_the_network_was(config, train):
    network, given = case(config)
    adapted = copy.deepcopy(network)
    factors = adapt(adapted, RANK, ALPHA)
    with torch.set_grad_enabled(train):
        assert torch.equal(adapted.train(train)(*given), network.requires_grad_(False).train(train)(*given))
        learned(factors)
        assert not torch.equal(adapted(*given), network(*given))


@pytest.mark.parametrize("targets", ["attention", "convolutions", "all"])
@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_merged_weights_put_out_the_same(config, targets):
    """Every kind of layer: linear, 1x1, 3x3, of stride 2, with queries, keys and values in one."""
    network, given = case(config)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    factors = learned(adapt(network, RANK, ALPHA, targets))
    merged = merged_unet(config, state, lora_of(config, factors.state_dict(), ALPHA))
    expected = UNet.from_tensors(config, state)(*given)
    with torch.no_grad():
        found = network(*given)
    torch.testing.assert_close(found, UNet.from_tensors(config, merged)(*given), rtol=1e-4, atol=1e-5)
    assert (found - expected).norm() > 0.02 * expected.norm()
    changed = {name.removesuffix(".weight") for name in state if not torch.equal(merged[name], state[name])}
    assert changed == set(adaptable(UNet(config), targets))


@pytest.mark.parametrize("name", ["linear", "1x1", "3x3", "stride 2", "end"])
def test_a_layer_alone(name):
    """Its factors, against the product written out."""
    from sfumato.networks.kernels.conv import Conv2d

    layer = {
        "linear": lambda: torch.nn.Linear(6, 5),
        "1x1": lambda: Conv2d(6, 5, 1),
        "3x3": lambda: Conv2d(6, 5, 3, padding=1),
        "stride 2": lambda: Conv2d(6, 5, 3, stride=2, padding=1),
        "end": lambda: Conv2d(6, 5, 3, stride=2),
    }[name]()
    factors = learned(Factors(layer, RANK, ALPHA))
    a, b = factors.down.weight, factors.up.weight
    change = ALPHA / RANK * torch.einsum("or,r...->o...", b.flatten(1), a)
    x = torch.randn(2, 6) if name == "linear" else torch.randn(2, 6, 8, 8)
    merged = copy.deepcopy(layer)
    with torch.no_grad():
        merged.weight += change
    torch.testing.assert_close(layer(x) + factors(x), merged(x), rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in factors.parameters()) == RANK * (layer.weight[0].numel() + len(layer.weight))


@pytest.mark.parametrize("config", [PLAIN, TEXT, NETWORKS["wide"]], ids=["plain", "text", "wide"])
def test_gradients_are_those_of_the_merged_weights(config):
    """dL/dA = (alpha/rank)·Bᵀ·dL/dW and dL/dB = (alpha/rank)·dL/dW·Aᵀ, where W is the merged weight of the layer."""
    network, given = case(config)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    factors = learned(adapt(network, RANK, ALPHA))
    direction = torch.randn_like(given[0])
    (network(*given) * direction).sum().backward()
    whole = UNet.from_tensors(config, merged_unet(config, state, lora_of(config, factors.state_dict(), ALPHA)))
    (whole.requires_grad_(True)(*given) * direction).sum().backward()
    layers = adaptable(whole, "all")
    assert len(layers) == len(factors)
    for name, layer in layers.items():
        found, gradient = factors_at(factors, name), grad(layer.weight)
        a, b = found.down.weight, found.up.weight
        for mine, expected in (
            (a, ALPHA / RANK * b.flatten(1).T @ gradient),
            (b, ALPHA / RANK * gradient @ a.flatten(1).T),
        ):
            error = (grad(mine) - expected).norm()
            assert error <= 1e-4 * expected.norm(), name
            assert expected.norm() > 0, name


def test_only_factors_learn():
    network, given = case(PLAIN)
    factors = adapt(network, RANK, ALPHA)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(*given).square().mean().backward()
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name in before if ".lora." in name}
    assert {id(p) for p in network.parameters() if p.requires_grad} == {id(p) for p in factors.parameters()}
    torch.optim.AdamW(factors.parameters(), lr=0.1, weight_decay=0.0).step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".lora.up." in name}  # A has no gradient as long as B is zero


def test_where_factors_stand():
    network = UNet(TEXT)
    attention, convolutions = (set(adaptable(network, targets)) for targets in ("attention", "convolutions"))
    assert not attention & convolutions
    assert attention | convolutions == set(adaptable(network, "all"))
    block = "down.0.attention.blocks.0"
    assert {f"{block}.cross_attention.key", f"{block}.feed_forward.leave", "down.0.attention.enter"} <= attention
    assert {"down.0.block.conv1", "down.1.conv", "down.2.block.skip", "up.2.conv"} <= convolutions
    for outside in ("enter", "leave.2", "time.0", "down.0.block.embed"):
        assert outside not in attention | convolutions
    words = UNet(replace(TEXT, vocabulary=4, tokens=3))
    assert not [name for name in adaptable(words, "all") if name.startswith("text.")]
    assert set(adaptable(UNet(PLAIN), "attention")) == {
        f"{place}.attention.{layer}" for place in ("down.2", "middle.0", "up.0", "up.1") for layer in ("qkv", "out")
    }


def test_factors_begin_normal_and_zero():
    """A keeps the scale of what it is given."""
    factors = factors_at(adapt(UNet(NETWORKS["wide"]), 8, 8), "down.0.block.conv2")
    assert not factors.up.weight.any()
    columns = 9 * 32
    assert abs(factors.down.weight.std().item() * columns**0.5 - 1) < 0.05
    assert factors.scale == 1
    torch.manual_seed(1)
    first = adapt(UNet(PLAIN), 2, 2).state_dict()
    torch.manual_seed(1)
    again = adapt(UNet(PLAIN), 2, 2).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_ranks_that_cannot_be():
    with pytest.raises(InputError, match="at least 1, not 0"):
        adapt(UNet(PLAIN), 0, 1.0)
    with pytest.raises(InputError, match=r"9 is more than down\.0\.block\.conv1 can have: .* 8x72, so at most 8"):
        adapt(UNet(PLAIN), 9, 1.0)
    adapt(UNet(PLAIN), 8, 1.0)
    bare = UNetConfig(channels=8, multipliers=(1,), attention_levels=(), mid_attention=False, groups=4)
    with pytest.raises(InputError, match="no layers to adapt among its attention"):
        adapt(UNet(bare), 2, 1.0, "attention")
