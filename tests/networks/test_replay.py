from dataclasses import replace

import pytest
import torch
from torch import nn

import sfumato as sf
from sfumato.generation import model as generation
from sfumato.networks import replay
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.kernels import conv
from sfumato.networks.kernels.kept import Kept
from sfumato.networks.lora import adapt
from sfumato.networks.replay import Replay
from sfumato.networks.unet import UNet

PLAIN = UNetConfig(channels=32, multipliers=(1, 2), attention_levels=(1,), groups=8, blocks=1)
CONFIGS = {
    "plain": PLAIN,
    "odd channels": replace(PLAIN, channels=12, groups=4, heads=2, head_channels=None),
    "labels, patches": replace(PLAIN, labels=(3,), patch=2, in_channels=1),
    "scales and shifts": replace(PLAIN, time_embedding="scale-shift", resample="residual", heads=4),
    "steps, a border at the ends": replace(PLAIN, time_steps=1000, time_encoding="adm", resample="conv-end"),
    "words": replace(PLAIN, context=16, vocabulary=40, tokens=8, text_layers=1),
    "context": replace(PLAIN, context=16, heads=4),
}
NOTHING = Condition()
TIMES = (1.0, 0.7, 0.31, 0.305, 1 / 3)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network_of(config):
    torch.manual_seed(1)
    network = UNet(config).eval().requires_grad_(False)
    for i, weight in enumerate(network.parameters()):  # of which many begin as zeros
        weight.add_(0.1 * drawn(*weight.shape, seed=i))
    return network


def condition_of(config):
    if config.vocabulary:
        return Condition(words=torch.randint(40, (2, 8), generator=torch.Generator().manual_seed(0)))
    if config.context:
        return Condition(context=drawn(2, 5, 16), mask=torch.tensor([[True] * 5, [True, True, False, False, False]]))
    return Condition(labels=torch.tensor([[1], [-1]])) if config.labels else Condition()


class Counted(nn.Module):
    """How often the network was called itself."""

    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, *given):
        self.calls += 1
        return self.network(*given)


def walked(network, condition, x, times=TIMES):
    """What came out, and what should have; and how often the network was called."""
    counted, again = Counted(network), Replay()
    with torch.no_grad():
        found = [again(counted, x + t, t, condition) for t in times]
        return found, [network(x + t, t, condition) for t in times], counted.calls


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_repeated_calls_give_what_the_network_gives_bit_for_bit(name):
    config = CONFIGS[name]
    found, expected, calls = walked(network_of(config), condition_of(config), drawn(2, config.in_channels, 16, 16))
    assert same(found, expected)
    assert calls == 2
    assert len({float(picture.sum()) for picture in found}) == len(TIMES)  # none lies where another was written


def test_without_kernels_and_without_room_for_spread_weights(monkeypatch):
    network, x = network_of(PLAIN), drawn(2, 3, 16, 16)
    monkeypatch.setattr(conv, "KEPT", Kept(most_bytes=0))
    found, expected, calls = walked(network, Condition(), x)
    assert same(found, expected)
    assert calls == 2
    monkeypatch.setattr(conv, "available", lambda: False)
    found, expected, calls = walked(network, Condition(), x)
    assert same(found, expected)
    assert calls == 2


def test_the_factors_of_an_adapter_are_repeated_too():
    network = network_of(PLAIN)
    factors = adapt(network, rank=2, alpha=4.0)
    for factor in factors.parameters():
        nn.init.normal_(factor, std=0.1)
    found, expected, calls = walked(network.eval(), Condition(), drawn(2, 3, 16, 16))
    assert same(found, expected)
    assert calls == 2


def test_calls_of_several_kinds_take_turns():
    """As with guidance: some with a label and some without, and fewer pictures at the end."""
    config, again = CONFIGS["labels, patches"], Replay()
    network = Counted(network_of(config))
    conditions = [Condition(labels=torch.tensor([[label]])) for label in (0, 1, -1)]
    with torch.no_grad():
        for t in TIMES:
            for i, condition in enumerate(conditions):
                x = drawn(1, 1, 16, 16, seed=i)
                assert torch.equal(again(network, x, t, condition), network.network(x, t, condition))
    assert network.calls == 2 * len(conditions)


def test_more_kinds_of_calls_than_are_kept_go_the_networks_way(monkeypatch):
    monkeypatch.setattr(replay, "MOST_SHAPES", 1)
    network, again = Counted(network_of(PLAIN)), Replay()
    with torch.no_grad():
        for size in (16, 8):
            for t in TIMES:
                x = drawn(1, 3, size, size)
                assert torch.equal(again(network, x, t, NOTHING), network.network(x, t, NOTHING))
    assert network.calls == 2 + len(TIMES)


def test_changed_weights_are_seen():
    network, condition, x, again = Counted(network_of(PLAIN)), Condition(), drawn(1, 3, 16, 16), Replay()
    with torch.no_grad():
        for step in range(3):
            for t in TIMES:
                assert torch.equal(again(network, x, t, condition), network.network(x, t, condition))
            for weight in network.parameters():
                weight.mul_(1.01 + step)
    assert network.calls == 2 + 1 + 1


def test_a_recording_that_would_be_too_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(replay, "MOST_BYTES", 2**16)
    found, expected, calls = walked(network_of(PLAIN), Condition(), drawn(2, 3, 16, 16))
    assert same(found, expected)
    assert calls == len(TIMES)


def test_gradients_go_the_networks_way():
    network, condition, again = Counted(network_of(PLAIN)), Condition(), Replay()
    for t in TIMES:
        x = drawn(1, 3, 16, 16).requires_grad_()
        again(network, x, t, condition).sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
    assert network.calls == len(TIMES)


class Odd(nn.Module):
    """Does what it is told to with x, t and a tensor that stays what it is."""

    def __init__(self, work):
        super().__init__()
        self.work, self.constant = work, torch.ones(2, 3)

    def forward(self, x, t, condition):
        return self.work(x, t, self.constant)


def accumulated(x, t, constant):
    total = torch.zeros_like(constant)
    return total.add_(x) * 1.0


def changed_in_part(x, t, constant):
    filled = torch.full_like(constant, 7.0)
    filled[:, :2] = x[:, :2]
    return filled.mul_(2.0) * 1.0


ODD = {
    "part": changed_in_part,
    "random": lambda x, t, constant: x + torch.rand(x.shape),
    "dropout": lambda x, t, constant: torch.dropout(x, 0.5, True),
    "choice": lambda x, t, constant: x if x.sum() > 0 else constant * t,
    "number": lambda x, t, constant: constant * float(x.max()),
    "positions": lambda x, t, constant: x[x > 0].sum() * constant,
    "sum": accumulated,
    "nothing new": lambda x, t, constant: constant,
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_repeated_is_not(name):
    network, again, condition = Counted(Odd(ODD[name])), Replay(), Condition()
    with torch.no_grad():
        for i in range(5):
            x = drawn(2, 3, seed=i)
            torch.manual_seed(i)
            found = again(network, x, 0.5, condition)
            torch.manual_seed(i)
            assert torch.equal(found, network.network(x, 0.5, condition))
    assert network.calls == 5


def changed_in_place(x, t, constant):
    filled = torch.empty_like(constant)
    filled[:, :2] = x[:, :2]
    filled[:, 2:] = 7.0
    return torch.nn.functional.silu(filled.mul(t).add_(constant), inplace=True)


def split(x, t, constant):
    high, low = torch.max(x, dim=1).values, torch.sort(x * t, dim=1).indices
    return constant[:, 0] * high + low.float().sum(1)


@pytest.mark.parametrize("work", [changed_in_place, split])
def test_changes_in_place_and_several_results_can_be_repeated(work):
    network, again, condition = Counted(Odd(work)), Replay(), Condition()
    with torch.no_grad():
        for i in range(5):
            x = drawn(2, 3, seed=i)
            assert torch.equal(again(network, x, i / 4, condition), network.network(x, torch.tensor(i / 4), condition))
    assert network.calls == 2


def test_sampling_repeats_calls_and_gives_the_same_pictures(monkeypatch):
    model = sf.load("emoji")
    network = model.network
    counted = Counted(network)
    monkeypatch.setattr(model, "_network", lambda: counted)
    repeated = model.sample(2, steps=8)
    assert counted.calls == 2
    monkeypatch.setattr(generation, "LEAST_REPLAYED", 9)
    assert (model.sample(2, steps=8).array == repeated.array).all()
    assert counted.calls == 2 + 8
