import json

import numpy as np
import pytest

from factory import model
from sfumato.data.dataset import Dataset
from sfumato.data.emoji import emoji
from sfumato.errors import InputError
from sfumato.evaluation.evaluate import evaluate, halves
from sfumato.evaluation.features import efficientnet_lite0
from sfumato.evaluation.frechet import frechet_distance
from sfumato.generation.request import Request


def dataset(count=40):
    images = np.random.default_rng(0).integers(0, 255, (count, 8, 8, 3), dtype=np.uint8)
    return Dataset("noise", images, np.zeros((count, 0), np.int64))


def means(images):
    return images.astype(np.float64).mean((1, 2))


def test_compares_equal_numbers_and_says_how():
    seen = []
    score = evaluate(
        model(), dataset(), means, "Means", n=10, seed=3, request=Request(steps=3, solver="heun"), progress=seen.append
    )
    reference, other = halves(dataset(), 10)
    samples = model().sample(10, seed=3, steps=3, solver="heun")
    assert score.value == pytest.approx(frechet_distance(means(samples.array), means(reference)))
    assert score.floor == pytest.approx(frechet_distance(means(other), means(reference)))
    facts = json.loads(score.to_json())
    assert facts["metric"] == "FD-Means"
    assert (facts["n"], facts["seeds"], facts["steps"], facts["network_calls"]) == (10, "3…12", 3, 5)
    assert seen == [10]
    for word in ("FD-Means", "floor", "seeds 3…12", "heun", "not with FID"):
        assert word in str(score)


def test_halves_are_disjoint_and_fixed():
    one, other = halves(dataset())
    assert len(one) == len(other) == 20
    assert not {p.tobytes() for p in one} & {p.tobytes() for p in other}
    assert np.array_equal(one, halves(dataset())[0])
    with pytest.raises(InputError, match="at least 2 pictures on each side; noise has 3"):
        halves(dataset(3))


def test_refuses_pictures_of_another_size():
    with pytest.raises(InputError, match="the model makes"):
        evaluate(model(), emoji("flags"), means, "Means")


def test_features_of_the_extra_know_pictures_from_noise_and_blur():
    """The network really is the trained one: real pictures are nearer to real ones than to noisy or blurred ones."""
    features = efficientnet_lite0()
    pictures = emoji("animals").images
    one, other = pictures[:60], pictures[60:120]
    noise = np.random.default_rng(0).normal(0, 25, other.shape)
    noisy = (other + noise).clip(0, 255).astype(np.uint8)
    blurred = (
        (other.astype(int) + np.roll(other, 1, 1) + np.roll(other, 1, 2) + np.roll(other, (1, 1), (1, 2))) // 4
    ).astype(np.uint8)
    target = features(one)
    assert target.shape == (60, 1280)
    distance = [frechet_distance(features(x), target) for x in (other, noisy, blurred)]
    assert distance[0] < min(distance[1:])
    grey = features(one[:2, :, :, :1])
    assert np.allclose(grey, features(np.repeat(one[:2, :, :, :1], 3, axis=3)))
