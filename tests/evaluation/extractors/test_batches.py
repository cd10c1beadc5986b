import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.evaluation.extractors.batches import in_batches

RNG = np.random.default_rng(0)


def test_every_picture_once_and_in_order():
    seen = []

    def embed(x):
        seen.append(len(x))
        return x.mean((2, 3))

    pictures = RNG.integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
    found = in_batches(embed, batch=3)(pictures)
    assert seen == [3, 3, 1]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pictures.mean((1, 2)), rtol=1e-6)


def test_a_network_is_given_colours_from_0_to_255_and_its_maps_are_flattened():
    given = []
    grey = np.array([[[[0], [255]]], [[[7], [8]]]], np.uint8)
    found = in_batches(lambda x: given.append(x) or x)(grey)
    assert given[0].tolist() == [[[[0, 255]]] * 3, [[[7, 8]]] * 3]
    assert found.tolist() == [[0, 255] * 3, [7, 8] * 3]


def test_without_gradients_and_without_tf32():
    now = torch.backends.cudnn.allow_tf32

    def embed(x):
        assert torch.is_inference_mode_enabled()
        assert not torch.backends.cudnn.allow_tf32
        return x

    in_batches(embed)(np.zeros((1, 2, 2, 3), np.uint8))
    assert torch.backends.cudnn.allow_tf32 == now


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 2), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((2, 0, 4, 3), np.uint8),
    ],
)
def test_what_are_no_pictures(pictures):
    with pytest.raises(InputError, match=r"features are of pictures, uint8 \(n, H, W, 1 or 3\), not"):
        in_batches(lambda x: x)(pictures)


@pytest.mark.parametrize("embed", [lambda x: x.mean(), lambda x: x[:1], lambda x: x.mean((1, 2, 3))])
def test_not_a_row_of_each_picture(embed):
    with pytest.raises(InputError, match="of 2 pictures, not a row of each"):
        in_batches(embed)(np.zeros((2, 4, 4, 3), np.uint8))
