"""Gradient checkpointing: the same numbers bit for bit, from less that is kept."""

import weakref
from dataclasses import replace

import pytest
import torch

from sfumato.networks import unet as module
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.lora import adapt
from sfumato.networks.unet import UNet

SMALL = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(1,), head_channels=8, groups=4, dropout=0.3)
SHAPES = {
    "plain": SMALL,
    "our kernels": replace(SMALL, channels=32, groups=8),
    "residual": replace(SMALL, resample="residual", labels=(3, 2), patch=2),
    "end": replace(SMALL, resample="conv-end", time_embedding="shift", blocks=2),
    "text": replace(SMALL, context=6, transformer_depth=2),
}


def awake(config: UNetConfig) -> UNet:
    network, draw = UNet(config).train(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * 0.1)
    return network


def given(config: UNetConfig):
    draw = torch.Generator().manual_seed(1)
    x, t = torch.randn(3, 3, 16, 16, generator=draw), torch.rand(3, generator=draw)
    labels = torch.tensor([[0, 1], [2, 0], [-1, -1]])[:, : len(config.labels)]
    context = torch.randn(3, 5, 6, generator=draw) if config.context else None
    return x.requires_grad_(), t, Condition(labels=labels, context=context)


def step(network: UNet, half: bool = False):
    """Output, all gradients, and what the generator stands at afterwards."""
    x, t, condition = given(network.config)
    torch.manual_seed(7)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output = network(x, t, condition)
    (output.float() ** 2).mean().backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {"output": output, "x": x.grad, "generator": torch.get_rng_state(), **gradients}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_all_gradients_are_the_same_bits(name, half):
    if half and name != "plain":
        pytest.skip("once is enough")
    network = awake(SHAPES[name])
    plain = step(network, half)
    network.zero_grad()
    network.recomputes = True
    again = step(network, half)
    assert plain.keys() == again.keys()
    assert len(plain) == 3 + len(list(network.parameters()))
    for key, value in plain.items():
        assert torch.equal(value, again[key]), key


def test_an_adapter_learns_the_same():
    found = []
    for recomputes in (False, True):
        network = awake(SMALL)
        torch.manual_seed(3)
        adapt(network, 2, 1.0)
        network.recomputes = recomputes
        found.append(step(network))
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


def test_names_stay_and_so_does_what_is_made_without_gradients(monkeypatch):
    network = awake(SMALL).eval()
    names = list(network.state_dict())
    with torch.no_grad():
        plain = network(*given(SMALL))
        network.recomputes = True
        monkeypatch.setattr(module, "checkpoint", None)  # not called
        assert torch.equal(network(*given(SMALL)), plain)
    assert list(network.state_dict()) == names


def test_blocks_work_twice_and_only_what_enters_them_is_kept():
    network, kept = awake(SMALL), {}
    stages = [layer for layer in network.modules() if isinstance(layer, module.Stage)]
    calls = []
    for stage in stages:
        stage.register_forward_pre_hook(lambda stage, inputs: calls.append(stage))
    for recomputes in (False, True):
        network.recomputes, sizes = recomputes, []

        def keep(value, sizes=sizes):
            sizes.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            step(network)
        kept[recomputes] = sum(sizes)
    assert [calls.count(stage) for stage in stages] == [1 + 2] * len(stages)
    assert kept[True] < kept[False] / 3


def test_sampling_lets_go_of_what_the_way_down_kept_once_a_stage_has_seen_it():
    network, seen = awake(SMALL).eval(), []
    network.down[-1].register_forward_hook(lambda layer, inputs, output: seen.append(weakref.ref(output)))
    network.up[1].register_forward_pre_hook(lambda layer, inputs: seen.append(seen[0]() is None))
    with torch.no_grad():
        network(*given(SMALL))
    assert seen[1]
