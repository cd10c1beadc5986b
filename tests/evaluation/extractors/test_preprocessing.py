import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.errors import InputError
from sfumato.evaluation.extractors.preprocessing import IMAGENET, Preprocessing

RNG = np.random.default_rng(0)
PLAIN = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves numbers as they are


def resized(channel, size):
    """By Pillow, whose bicubic interpolation is antialiased too."""
    return np.array(Image.fromarray(channel).resize((size[1], size[0]), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("before", "after"), [((5, 8), (16, 11)), ((40, 33), (9, 16)), ((30, 4), (10, 20))])
def test_resizing_is_pillows(before, after):
    pictures = RNG.uniform(0, 255, (2, 3, *before)).astype(np.float32)
    expected = np.stack([[resized(channel, after) for channel in picture] for picture in pictures])
    found = Preprocessing(after, *PLAIN, clamped=False)(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_what_goes_beyond_an_edge_is_cut_off_unless_it_is_wanted():
    picture = torch.tensor([0.0, 0, 0, 255, 255, 255]).expand(1, 3, 4, 6)
    kept = Preprocessing((9, 15), *PLAIN, clamped=False)(picture)
    assert kept.min() < -5
    assert kept.max() > 260
    torch.testing.assert_close(Preprocessing((9, 15), *PLAIN)(picture), kept.clamp(0, 255))


def test_mean_and_std_are_of_values_from_0_to_1():
    pictures = RNG.integers(0, 256, (2, 3, 4, 4)).astype(np.float32)
    found = Preprocessing((4, 4), *IMAGENET)(torch.from_numpy(pictures)).numpy()
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        np.testing.assert_allclose(found[:, channel], (pictures[:, channel] / 255 - mean) / std, rtol=1e-5, atol=1e-5)


def test_in_words():
    assert str(Preprocessing((224, 160), *IMAGENET)) == (
        "bicubic to 224x160, antialiased when shrinking, clamped to 0 … 255, "
        "(x - (123.675, 116.28, 103.53))/(58.395, 57.12, 57.375)"
    )
    words = {str(Preprocessing((4, 4), *IMAGENET, clamped=c)) for c in (True, False)}
    assert len(words) == 2


@pytest.mark.parametrize(
    ("size", "mean", "std"),
    [
        ((0, 4), *IMAGENET),
        ((4,), *IMAGENET),
        ((4, 4), (0.5, 0.5), (0.5, 0.5)),
        ((4, 4), (0.5, 0.5, float("nan")), (0.5, 0.5, 0.5)),
        ((4, 4), (0.5, 0.5, 0.5), (0.5, 0.0, 0.5)),
        ((4, 4), (0.5, 0.5, 0.5), (0.5, -1.0, 0.5)),
    ],
)
def test_numbers_that_no_network_expects(size, mean, std):
    with pytest.raises(InputError, match=r"need a size \(height, width\), and a mean and a positive std"):
        Preprocessing(size, mean, std)
