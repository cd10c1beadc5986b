import sys

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data.emoji import emoji
from sfumato.errors import InputError
from sfumato.evaluation.extractors.efficientnet import efficientnet_lite0, load_network
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.names import metric_name


@pytest.fixture(scope="module")
def extractor():
    return efficientnet_lite0()


def test_features_and_probabilities_are_those_of_the_library(extractor):
    """Pictures resized by Pillow, and the network's own layers, one by one."""
    pictures = emoji("animals").images[:3]
    enlarged = [
        [
            np.array(Image.fromarray(c.astype(np.float32)).resize((128, 128), Image.Resampling.BICUBIC))
            for c in p.transpose(2, 0, 1)
        ]
        for p in pictures
    ]
    x = (torch.from_numpy(np.stack(enlarged)).clamp(0, 255) - 127) / 128
    network = load_network()
    with torch.no_grad():
        maps = network.extract_features(x)
        expected = network._avg_pooling(maps)[:, :, 0, 0]
        classes = torch.log_softmax(network._fc(expected), 1).exp()
    found = extractor.features(pictures)
    assert (found.shape, found.dtype, extractor.width) == ((3, 1280), np.float32, 1280)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(extractor.probabilities(found), classes.numpy(), rtol=1e-3, atol=1e-6)


def test_it_says_which_it_is(extractor):
    assert metric_name("FD", extractor.name) == "FD-EffNetLite0"
    assert extractor.sha256.startswith("57934424")  # as it stands in the name of the package's file
    for word in (extractor.name, extractor.sha256, "128x128", "(x - (127, 127, 127))/(128, 128, 128)"):
        assert word in extractor.key


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(InputError, match=r"pip install 'sfumato\[evaluation\]'"):
        efficientnet_lite0()


def test_it_knows_pictures_from_noise_and_blur(extractor):
    """The network really is the trained one: real pictures are nearer to real ones than to noisy or blurred ones."""
    pictures = emoji("animals").images
    one, other = pictures[:30], pictures[30:60]
    noise = np.random.default_rng(0).normal(0, 25, other.shape)
    noisy = (other + noise).clip(0, 255).astype(np.uint8)
    blurred = (
        (other.astype(int) + np.roll(other, 1, 1) + np.roll(other, 1, 2) + np.roll(other, (1, 1), (1, 2))) // 4
    ).astype(np.uint8)
    target = extractor.features(one)
    distance = [frechet_distance(extractor.features(x), target) for x in (other, noisy, blurred)]
    assert distance[0] < min(distance[1:])
