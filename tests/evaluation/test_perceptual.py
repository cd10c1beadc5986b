import numpy as np
import pytest
import torch

from sfumato.data.emoji import emoji
from sfumato.evaluation.extractors.efficientnet import load_network
from sfumato.evaluation.perceptual import LAYERS, PerceptualDistance
from sfumato.scaling import to_unit


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance()


@pytest.fixture(scope="module")
def pictures():
    return to_unit(emoji("animals").images[:6])


def test_is_zero_for_equal_pictures_symmetric_and_grows_with_damage(distance, pictures):
    assert distance(pictures, pictures).tolist() == [0.0] * 6
    noise = torch.randn(pictures.shape)
    found = [distance(pictures, pictures + s * noise).mean().item() for s in (0.02, 0.1, 0.5)]
    assert 0 < found[0] < found[1] < found[2] < 4
    other = pictures.flip(0)
    torch.testing.assert_close(distance(pictures, other), distance(other, pictures))


def test_is_the_formula_on_maps_caught_on_their_way(distance, pictures):
    """The maps by hooks in a network of its own that runs as it was made to, the distance in loops over channels."""
    net, kept = load_network(), {}
    for i in LAYERS:
        net._blocks[i].register_forward_hook(lambda _m, _i, out, i=i: kept.setdefault(i, []).append(out))
    one, other = pictures[:2], pictures[2:4]
    with torch.no_grad():
        for x in (one, other):
            net.extract_features(((x + 1) * 127.5 - 127) / 128)
    total = np.zeros(2)
    for a, b in kept.values():
        unit = [m / m.square().sum(1, keepdim=True).sqrt() for m in (a, b)]
        gap = torch.stack([(unit[0][:, c] - unit[1][:, c]) ** 2 for c in range(a.shape[1])]).sum(0)
        total += gap.mean((1, 2)).numpy()
    np.testing.assert_allclose(distance(one, other).numpy(), total / len(LAYERS), rtol=1e-4)
    assert [kept[i][0].shape[2] for i in LAYERS] == [16, 8, 4, 2]


def test_the_maps_are_the_last_before_each_halving(pictures):
    net, sides = load_network(), []
    for block in net._blocks:
        block.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[2]))
    with torch.no_grad():
        net.extract_features(pictures[:1])
    assert tuple(i for i in range(len(sides) - 1) if sides[i + 1] < sides[i]) == LAYERS


def test_its_gradient_reaches_the_picture_and_not_the_network(distance, pictures):
    made = (pictures + 0.1).requires_grad_()
    distance(pictures, made).sum().backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in distance._network.parameters())


def test_grey_pictures_are_seen_as_colourless(distance, pictures):
    grey = pictures[:, :1]
    found = distance(grey, grey.flip(0))
    torch.testing.assert_close(found, distance(grey.expand(-1, 3, -1, -1), grey.flip(0).expand(-1, 3, -1, -1)))
