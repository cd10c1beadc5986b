import numpy as np
import pytest
import torch
from torch import nn

from sfumato.errors import InputError
from sfumato.evaluation.extractors.module import module_extractor
from sfumato.evaluation.extractors.preprocessing import IMAGENET, Preprocessing
from sfumato.evaluation.names import CLIP, INCEPTION, metric_name

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
PREPARE = Preprocessing((8, 6), *IMAGENET)


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.Flatten())


def prepared():
    return PREPARE(torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float())


def test_what_the_network_makes():
    module = network()
    extractor = module_extractor(module, "Mine", PREPARE, batch=2)
    found = extractor.features(PICTURES)
    assert module.training
    with torch.no_grad():
        expected = module.eval()(prepared())
    torch.testing.assert_close(torch.from_numpy(found), expected)
    assert (extractor.width, extractor.preprocessing) == (4 * 6 * 4, str(PREPARE))
    assert metric_name("FD", extractor.name) == "FD-Mine"


def test_what_a_layer_makes_flattened():
    module = network().eval()
    found = module_extractor(module, "Mine", PREPARE, layer="0").features(PICTURES)
    with torch.no_grad():
        expected = module[0](prepared()).flatten(1)
    torch.testing.assert_close(torch.from_numpy(found), expected)


def test_the_module_can_go_on_being_trained():
    module = network()
    extractor = module_extractor(module, "Mine", PREPARE)
    before = extractor.features(PICTURES)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1
    assert np.array_equal(extractor.features(PICTURES), before)
    assert all(p.requires_grad for p in module.parameters())
    assert not module[0]._forward_hooks


def test_half_precision_is_widened():
    module = network().eval().to(torch.bfloat16)
    found = module_extractor(module, "Mine", PREPARE).features(PICTURES)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), module.float()(prepared()))


def test_the_key_is_equal_where_features_are():
    module = network()
    extractor = module_extractor(module, "Mine", PREPARE)
    assert extractor.key == module_extractor(module, "Mine", PREPARE, batch=3).key
    assert len(extractor.sha256) == 64
    others = [
        module_extractor(module, "Other", PREPARE),
        module_extractor(module, "Mine", Preprocessing((8, 7), *IMAGENET)),
        module_extractor(module, "Mine", PREPARE, layer="0"),
        module_extractor(nn.Sequential(*module[:4], nn.ReLU6(), nn.Flatten()), "Mine", PREPARE),  # type: ignore
    ]
    with torch.no_grad():
        module[1].running_mean += 1  # type: ignore
    others.append(module_extractor(module, "Mine", PREPARE))
    assert len({extractor.key, *(other.key for other in others)}) == 6
    assert others[-1].sha256 != extractor.sha256


@pytest.mark.parametrize("name", [INCEPTION, CLIP])
def test_a_name_that_is_kept(name):
    with pytest.raises(InputError, match="is kept for the network behind FID or CMMD"):
        module_extractor(network(), name, PREPARE)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "\x1b[2J"])
def test_a_name_that_cannot_be_read(name):
    with pytest.raises(InputError, match="must be a few letters"):
        module_extractor(network(), name, PREPARE)


def test_a_layer_that_is_not_there_or_not_used():
    with pytest.raises(InputError, match=r"there is no layer 'layer4'\. Known: 0, 1"):
        module_extractor(network(), "Mine", PREPARE, layer="layer4")

    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.idle = nn.ReLU()

        def forward(self, x):
            return x

    with pytest.raises(InputError, match="does not use its layer 'idle'"):
        module_extractor(Idle(), "Mine", PREPARE, layer="idle")


class Makes(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: (x, x), "Mine makes a tuple, not a tensor"),
        (lambda x: x.mean(), "of 2 pictures, not a row of each"),
        (lambda x: x / 0, "Mine's features of two pictures hold NaN or infinity"),
        (lambda x: x - x.mean(0), "makes other features of a picture beside another than alone"),
        (lambda x: x + torch.randn_like(x), "or makes them by chance"),
        (lambda x: x[:, :, : len(x)], "features of one picture, 36 of each of two"),
        (lambda x: x[:, :0], r"must be \(n, D\)"),
    ],
)
def test_what_is_no_row_of_numbers_for_each_picture_alone(make, message):
    with pytest.raises(InputError, match=message):
        module_extractor(Makes(make), "Mine", PREPARE)
