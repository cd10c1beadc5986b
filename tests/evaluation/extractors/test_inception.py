import numpy as np
import pytest
import torch
from torch import nn

import inception_reference
from sfumato.errors import InputError
from sfumato.evaluation.extractors import inception as standard
from sfumato.evaluation.extractors.inception import inception, resized_like_tensorflow
from sfumato.evaluation.extractors.inception_network import InceptionV3
from sfumato.evaluation.names import metric_name
from sfumato.files import sha256_of

RNG = np.random.default_rng(0)
SIDE = 107  # leaves 2x2 maps at the end


@pytest.fixture(scope="module")
def tensors():
    """Random weights under which every layer changes what comes out."""
    torch.manual_seed(0)
    network = InceptionV3()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
        if isinstance(part, nn.BatchNorm2d):
            for values, least, most in ((part.weight, 0.5, 1.5), (part.bias, -0.5, 0.5)):
                nn.init.uniform_(values, least, most)
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 1.5)
    return network.state_dict()


@pytest.fixture(scope="module")
def file(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture
def taken(file, monkeypatch):
    """The file, with random weights taken for the standard ones, and pictures as small as it takes."""
    monkeypatch.setattr(standard, "SHA256", sha256_of(file))
    monkeypatch.setattr(standard, "SIDE", SIDE)
    return file


def read_at(picture, at):
    """The value at a place between pixels, by the definition of bilinear interpolation."""
    height, width = picture.shape
    value = 0.0
    for i in range(height):
        for j in range(width):
            value += max(0, 1 - abs(at[0] - i)) * max(0, 1 - abs(at[1] - j)) * picture[i, j]
    return value


@pytest.mark.parametrize(("small", "large"), [((4, 3), (7, 11)), ((9, 8), (4, 5)), ((5, 5), (5, 5)), ((1, 2), (3, 6))])
def test_resizing_reads_at_whole_multiples(small, large):
    """Place i of n at i·size/n, and never beyond the last pixel."""
    picture = RNG.uniform(0, 255, small)
    found = resized_like_tensorflow(torch.tensor(picture)[None, None].float(), *large)[0, 0].numpy()
    steps = [s / n for s, n in zip(small, large, strict=True)]
    last = [s - 1 for s in small]
    expected = [
        [read_at(picture, [min(k * step, end) for k, step, end in zip(at, steps, last, strict=True)]) for at in row]
        for row in ([(i, j) for j in range(large[1])] for i in range(large[0]))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_network_is_the_one_written_line_by_line(tensors):
    x = torch.rand(1, 3, SIDE, SIDE + 32) * 2 - 1
    found = InceptionV3.from_tensors(tensors)(x)
    expected = inception_reference.features(tensors, x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_its_published_sizes():
    assert standard.SIDE == 299
    with torch.device("meta"):
        network = InceptionV3()
    assert sum(p.numel() for name, p in network.named_parameters() if not name.startswith("fc.")) == 21_785_568
    assert tuple(network.fc.weight.shape) == (1008, 2048)


def test_features_and_probabilities_of_pictures(taken, tensors):
    extractor = inception(taken)
    pictures = RNG.integers(0, 256, (1, 20, 31, 1), dtype=np.uint8)
    found = extractor.features(pictures)
    assert (found.shape, found.dtype, extractor.width) == ((1, 2048), np.float32, 2048)
    x = resized_like_tensorflow(torch.from_numpy(pictures).permute(0, 3, 1, 2).float(), SIDE, SIDE)
    expected = inception_reference.features(tensors, (x.expand(-1, 3, -1, -1) - 128) / 128).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert extractor.probabilities is not None
    logits = found.astype(np.float64) @ tensors["fc.weight"].numpy().astype(np.float64).T
    logits -= logits.max(1, keepdims=True)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(extractor.probabilities(found), expected, rtol=1e-3, atol=1e-6)


def test_the_standard_weights_give_the_standard_names(taken):
    extractor = inception(taken)
    assert metric_name("FD", extractor.name) == "FID"
    assert metric_name("ClassifierScore", extractor.name) == "IS"
    assert extractor.sha256 == sha256_of(taken)


def test_no_other_weights_are_taken_for_them(tmp_path):
    assert standard.SHA256.startswith("6726825d")  # as it stands in the file's published name
    torch.save({"fc.weight": torch.zeros(1008, 2048)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth is not the file of weights that FID is defined by .* https:"):
        inception(tmp_path / "other.pth")
    for missing in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(InputError, match="there is no such file"):
            inception(missing)
