"""Compiling, by torch's own stand-in for a compiler, which traces the same way and makes no code."""

import io
import re
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from factory import config, pictures
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet
from sfumato.training import compiled as module
from sfumato.training.compiled import Compiled
from sfumato.training.loop import train

SHAPE = UNetConfig(
    channels=32, multipliers=(1,), attention_levels=(), mid_attention=False, groups=8, dropout=0.2, labels=(3,)
)
BLOCKS = 5


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()


def network() -> UNet:
    made, draw = UNet(SHAPE).train(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * 0.1)
    return made


def step(called, network: UNet, count: int):
    network.zero_grad()
    draw = torch.Generator().manual_seed(count)
    x, t = torch.randn(count, 3, 8, 8, generator=draw), torch.rand(count, generator=draw)
    torch.manual_seed(5)
    output = called(x, t, Condition(labels=torch.zeros(count, 1, dtype=torch.int64)))
    (output**2).mean().backward()
    return output.detach(), [p.grad.clone() for p in network.parameters() if p.grad is not None]


def test_outputs_and_gradients_are_the_same_and_whole_micro_batches_are_compiled_once():
    net, said = network(), []
    compiled = Compiled(net, {4}, said.append, backend="aot_eager")
    for count, compilations in ((3, 0), (4, 1), (4, 1), (3, 1)):
        output, gradients = step(compiled, net, count)
        expected, plain = step(net, net, count)
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients, plain, rtol=1e-3, atol=1e-5)
        assert compiled.compilations == compilations
    with torch.no_grad():
        compiled(torch.zeros(4, 3, 8, 8), torch.zeros(4), Condition())
    assert compiled.compilations == 1
    assert list(net.state_dict()) == list(network().state_dict())
    foretold, told = said
    assert re.fullmatch(
        rf"The first step compiles the network: about \d+ s, since one of its {BLOCKS} blocks took \d+ s\.", foretold
    )
    assert re.fullmatch(r"Compiled for 4 pictures of 8x8 in \d+ s; that makes 1 so far\.", told)


def test_the_network_is_one_graph(monkeypatch):
    net = network()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = Compiled(net, {4}, lambda text: None, backend)
    monkeypatch.setattr(compiled, "_foretell", lambda *given: None)
    step(compiled, net, 4)
    assert len(graphs) == 1


def test_blocks_that_work_twice():
    net = network()
    net.recomputes = True
    output, gradients = step(Compiled(net, {4}, lambda text: None, "aot_eager"), net, 4)
    net.recomputes = False
    expected, plain = step(net, net, 4)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients, plain, rtol=1e-3, atol=1e-5)


def test_without_a_compiler_the_network_works_as_it_is_and_that_is_told_once():
    def broken(graph, inputs):
        raise OSError("no compiler")

    net, said = network(), []
    compiled = Compiled(net, {4}, said.append, broken)
    for _ in range(2):
        output, gradients = step(compiled, net, 4)
        expected, plain = step(net, net, 4)
        assert torch.equal(output, expected)
        assert all(map(torch.equal, gradients, plain))
    assert len(said) == 1
    assert "cannot be compiled here, and works as it is" in said[0]
    assert "no compiler" in said[0]


def test_a_training_says_so_and_its_runs_can_go_on_either_way(tmp_path, monkeypatch):
    honest = module.Compiled
    monkeypatch.setattr(module, "Compiled", lambda *given: honest(*given, backend="eager"))
    data, out = pictures(tmp_path / "pictures"), tmp_path / "run"
    console = Console(record=True, width=200, file=io.StringIO())
    shape = replace(SHAPE, labels=())  # those of the data
    train(config(data, out, network=shape, compile=True, pictures=12), console)
    assert "Compiled for 4 pictures of 8x8" in console.export_text()
    train(config(data, out, network=shape, resume=True, pictures=16), console)
    assert "Not bit for bit the same run" in console.export_text()
