import pytest
import torch

from sfumato.errors import InputError
from sfumato.networks.config import UNetConfig
from sfumato.networks.layers import Attention, sinusoidal
from sfumato.networks.unet import NO_LABEL, UNet

TINY = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(1,), head_channels=4, groups=4)


def awake(network: UNet) -> UNet:
    """The same network with every zero-initialised weight replaced, so that all branches take part."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    return network.eval()


def test_ho_shape_has_its_published_number_of_parameters():
    """35.7 million (Ho et al. 2020, appendix B)."""
    count = sum(p.numel() for p in UNet(UNetConfig.ddpm_cifar10()).parameters())
    assert count == 35_746_307


CONFIGS = {
    "plain": (TINY, (8, 12)),
    "one grey channel": (UNetConfig(**{**TINY.__dict__, "in_channels": 1}), (4, 6)),
    "seven in, two out": (UNetConfig(**{**TINY.__dict__, "in_channels": 7, "out_channels": 2}), (10, 2)),
    "patches": (UNetConfig(**{**TINY.__dict__, "patch": 2}), (12, 8)),
    "shift": (UNetConfig(**{**TINY.__dict__, "time_embedding": "shift"}), (8, 8)),
    "single head, attention everywhere": (
        UNetConfig(**{**TINY.__dict__, "attention_levels": (0, 1), "head_channels": None}),
        (6, 6),
    ),
    "no attention": (UNetConfig(**{**TINY.__dict__, "attention_levels": (), "mid_attention": False}), (6, 6)),
    "one level": (UNetConfig(channels=6, multipliers=(1,), attention_levels=(), head_channels=3, groups=3), (5, 7)),
    "labels": (UNetConfig(**{**TINY.__dict__, "labels": (3, 2)}), (8, 8)),
    "deep, dropout": (
        UNetConfig(channels=4, multipliers=(1, 2, 3), blocks=2, dropout=0.5, head_channels=2, groups=2),
        (8, 4),
    ),
}


@pytest.mark.parametrize(("config", "size"), CONFIGS.values(), ids=CONFIGS)
def test_shapes_and_a_gradient_for_every_parameter(config, size):
    network = awake(UNet(config)).train()
    x = torch.randn(3, config.in_channels, *size)
    labels = torch.tensor([[0, 1], [2, 0], [1, NO_LABEL]]) if config.labels else None
    output = network(x, torch.tensor([0.1, 0.5, 1.0]), labels)
    assert output.shape == (3, config.output_channels, *size)
    output.square().sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_starts_by_predicting_nothing():
    assert not UNet(TINY)(torch.randn(2, 3, 8, 8), 0.5).any()


def test_every_input_matters():
    network = awake(UNet(UNetConfig(**{**TINY.__dict__, "labels": (3, 2)})))
    x, t, labels = torch.randn(1, 3, 8, 8), torch.tensor([0.5]), torch.tensor([[1, 0]])
    base = network(x, t, labels)
    for other in (
        network(x + 0.1, t, labels),
        network(x, t + 0.1, labels),
        network(x, t, torch.tensor([[2, 0]])),
        network(x, t, torch.tensor([[1, 1]])),
        network(x, t, torch.tensor([[1, NO_LABEL]])),
        network(x, t),
    ):
        assert (other - base).abs().max() > 1e-4
    torch.testing.assert_close(network(x, t), network(x, t, torch.tensor([[NO_LABEL, NO_LABEL]])))
    torch.testing.assert_close(network(x, 0.5, labels), base)


def test_pictures_of_a_batch_do_not_mix():
    network = awake(UNet(CONFIGS["labels"][0]))
    x, t, labels = torch.randn(4, 3, 8, 8), torch.rand(4), torch.tensor([[0, 0], [1, 1], [2, 0], [NO_LABEL, 1]])
    batch = network(x, t, labels)
    for i in range(4):
        alone = network(x[i : i + 1], t[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(batch[i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_attention_is_the_textbook_formula():
    """softmax(qkᵀ/√d)·v, head by head, written out with explicit loops."""
    layer = Attention(8, groups=4, heads=2)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    x = torch.randn(2, 8, 2, 3)
    flat = layer.norm(x).flatten(2)  # (N, C, HW)
    weight = layer.qkv.weight[:, :, 0, 0]
    q, k, v = (torch.einsum("oc,ncp->nop", weight, flat) + layer.qkv.get_parameter("bias")[None, :, None]).chunk(
        3, dim=1
    )
    mixed = torch.empty_like(q)
    for n in range(2):
        for head in (slice(0, 4), slice(4, 8)):
            share = (q[n, head].T @ k[n, head] / 2.0).softmax(dim=1)
            mixed[n, head] = v[n, head] @ share.T
    expected = (
        x
        + torch.einsum("oc,ncp->nop", layer.out.weight[:, :, 0, 0], mixed).reshape_as(x)
        + layer.out.get_parameter("bias")[:, None, None]
    )
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_sinusoidal_by_hand():
    values = sinusoidal(torch.tensor([3.0]), 4)
    expected = torch.tensor([3.0, 3e-4]).sin().tolist() + torch.tensor([3.0, 3e-4]).cos().tolist()
    assert values[0].tolist() == pytest.approx(expected)


def test_is_channels_last_inside():
    seen = []
    network = UNet(TINY)
    network.middle[0].register_forward_hook(lambda module, args, out: seen.append(out))
    network(torch.randn(2, 3, 8, 8), 0.5)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_sizes_that_do_not_fit_are_told_with_ones_that_do():
    network = UNet(UNetConfig(**{**TINY.__dict__, "patch": 3}))
    with pytest.raises(InputError, match=r"height of 32 does not fit.*multiple of 6.*30 or 36"):
        network(torch.zeros(1, 3, 32, 30), 0.5)
    with pytest.raises(InputError, match=r"width of 4 .*Nearest that fit: 6"):
        network(torch.zeros(1, 3, 30, 4), 0.5)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.zeros(1, 4, 8, 8), None, r"takes pictures \(N, 3, H, W\)"),
        (torch.zeros(3, 8, 8), None, "takes pictures"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, dtype=torch.long), r"labels must have the shape \(1, 2\)"),
        (torch.zeros(1, 3, 8, 8), torch.tensor([[3, 0]]), "class 3 of label kind 0"),
        (torch.zeros(1, 3, 8, 8), torch.tensor([[0, -2]]), "class -2 of label kind 1"),
    ],
)
def test_wrong_inputs(x, labels, message):
    with pytest.raises(InputError, match=message):
        UNet(CONFIGS["labels"][0])(x, 0.5, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels must be at least 1"),
        ({"channels": 9, "head_channels": None}, "must be even"),
        ({"multipliers": ()}, "at least one level"),
        ({"attention_levels": (2,)}, "level 2 does not exist"),
        ({"head_channels": 5}, "does not divide"),
        ({"dropout": 1.0}, "dropout"),
        ({"labels": (0,)}, r"labels\[0\]"),
    ],
)
def test_impossible_shapes(change, message):
    with pytest.raises(InputError, match=message):
        UNetConfig(**{**TINY.__dict__, **change})
