import math
from dataclasses import replace

import pytest
import torch

from sfumato.errors import InputError
from sfumato.networks.classifier import NoisyClassifier, label_log_probability
from sfumato.networks.config import NO_LABEL, UNetConfig
from sfumato.networks.layers import AttentionPool
from sfumato.networks.unet import UNet

TINY = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(1,), head_channels=4, groups=4, labels=(3, 2))


def awake(network):
    """The same network with every weight random, so that all branches take part."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    return network.eval()


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (TINY, (8, 12)),
        (replace(TINY, patch=2, in_channels=1, labels=(5,)), (4, 8)),
        (replace(TINY, head_channels=None, attention_levels=(), mid_attention=False), (6, 6)),
    ],
    ids=["plain", "grey patches", "single head"],
)
def test_shapes_and_a_gradient_for_every_parameter(config, size):
    network = awake(NoisyClassifier(config))
    logits = network(torch.randn(3, config.in_channels, *size), torch.tensor([0.1, 0.5, 1.0]))
    assert [tuple(k.shape) for k in logits] == [(3, n) for n in config.labels]
    torch.stack([(k * torch.randn_like(k)).sum() for k in logits]).sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        if name != "pool.key_value.bias":  # half of it, of the keys, cancels in the softmax
            assert p.grad.abs().sum() > 0, name


def test_is_the_first_half_of_the_unet():
    """Its tensors up to the middle have the names and shapes of the U-Net's; and nothing of the way up."""
    half, whole = (kind(TINY).state_dict() for kind in (NoisyClassifier, UNet))
    shared = {
        name: value.shape for name, value in whole.items() if name.split(".")[0] in ("time", "enter", "down", "middle")
    }
    own = {name for name in half if name not in shared}
    assert {name: half[name].shape for name in shared} == shared
    assert {name.split(".")[0] for name in own} == {"norm", "pool", "heads"}


def test_every_input_matters_and_pictures_do_not_mix():
    network = awake(NoisyClassifier(TINY))
    x, t = torch.randn(4, 3, 8, 8), torch.tensor([0.1, 0.4, 0.7, 1.0])
    batch = network(x, t)
    for kind, changed in zip(batch, network(x, t - 0.05), strict=True):
        assert (kind - changed).abs().max() > 1e-4
    for i in range(4):
        for kind, alone in zip(batch, network(x[i : i + 1], float(t[i])), strict=True):
            torch.testing.assert_close(kind[i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_attention_pooling_is_the_textbook_formula():
    """softmax(q·kᵀ/√d)·v with the query from the mean over positions, head by head, in explicit loops."""
    pool = awake(AttentionPool(8, heads=2))
    x = torch.randn(2, 8, 3, 5)
    flat = x.flatten(2)  # (N, C, positions)
    key, value = (
        torch.einsum("oc,ncp->nop", w[:, :, 0, 0], flat) + b[None, :, None]
        for w, b in zip(pool.key_value.weight.chunk(2), pool.key_value.get_parameter("bias").chunk(2), strict=True)
    )
    query, pooled = pool.query(flat.mean(2)), torch.empty(2, 8)
    for n in range(2):
        for head in (slice(0, 4), slice(4, 8)):
            share = (query[n, head] @ key[n, head] / 2.0).softmax(0)
            pooled[n, head] = value[n, head] @ share
    torch.testing.assert_close(pool(x), pool.out(pooled), rtol=1e-4, atol=1e-5)


def test_log_probability_by_hand():
    """Two kinds: the sum of those that are named; nothing, and no gradient, where none is."""
    logits = [torch.tensor([[0.0, math.log(3.0)]] * 4).requires_grad_(), torch.zeros(4, 5).requires_grad_()]
    labels = torch.tensor([[1, 2], [0, NO_LABEL], [NO_LABEL, 4], [NO_LABEL, NO_LABEL]])
    found = label_log_probability(logits, labels)
    expected = [math.log(3 / 4 / 5), math.log(1 / 4), math.log(1 / 5), 0.0]
    torch.testing.assert_close(found, torch.tensor(expected))
    (gradient,) = torch.autograd.grad(found.sum(), logits[:1])
    torch.testing.assert_close(gradient, torch.tensor([[-0.25, 0.25], [0.75, -0.75], [0.0, 0.0], [0.0, 0.0]]))


def test_stored_weights_make_the_same_network():
    network = awake(NoisyClassifier(TINY))
    again = NoisyClassifier.from_tensors(TINY, network.state_dict())
    x = torch.randn(2, 3, 8, 8)
    for kind, other in zip(network(x, 0.5), again(x, 0.5), strict=True):
        assert torch.equal(kind, other)
    assert not any(p.requires_grad for p in again.parameters())
    with pytest.raises(InputError, match=r"heads.1.bias is missing \(2 tensors missing"):
        NoisyClassifier.from_tensors(TINY, {k: v for k, v in network.state_dict().items() if "heads.1" not in k})


def test_what_does_not_fit_is_told():
    network = NoisyClassifier(TINY)
    with pytest.raises(InputError, match=r"takes pictures \(N, 3, H, W\)"):
        network(torch.zeros(1, 1, 8, 8), 0.5)
    with pytest.raises(InputError, match="multiple of 2"):
        network(torch.zeros(1, 3, 7, 8), 0.5)
    with pytest.raises(InputError, match="head_channels 5 does not divide the width 16"):
        NoisyClassifier(replace(TINY, head_channels=5, attention_levels=(), mid_attention=False))
