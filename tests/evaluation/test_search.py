from dataclasses import replace

import numpy as np

from measuring import dataset, extractor, saved
from sfumato.evaluation import search
from sfumato.evaluation.method import Making
from sfumato.evaluation.samples import make_samples
from sfumato.evaluation.search import digests, distinct, in_pixels, look_for_copies
from sfumato.evaluation.work import features_of, ordered
from sfumato.generation.request import Request

TOY = extractor()


def test_each_picture_once(monkeypatch):
    images = dataset(12).images.copy()
    images[7] = images[2]
    images[11] = images[2]
    data = replace(dataset(12), images=images)
    rows, equal = distinct(data)
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]
    assert equal == 2
    assert len(set(digests(data))) == 10
    assert digests(data)[7] == digests(data)[2]
    monkeypatch.setattr(search, "MOST", 4)
    few, equal = distinct(data)
    assert (len(few), equal) == (4, 2)
    assert set(few) < set(rows)


def test_large_pictures_are_compared_small():
    large = np.zeros((2, 96, 192, 3), np.uint8)
    large[1, :, 96:] = 255
    rows = in_pixels(large)
    assert rows.shape == (2, 32 * 64 * 3)
    assert not rows[0].any()
    assert 0.45 < rows[1].mean() / 255 < 0.55
    small = dataset(3).images
    assert np.array_equal(in_pixels(small), small.reshape(3, -1))


def test_copies_of_large_pictures_are_found_and_held_out_ones_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    model = saved(tmp_path / "m")
    order = ordered(model, Request(2), 24, 100)
    samples = make_samples(*order, tmp_path / "s")
    training, held_out = dataset(50), dataset(30, "kept", 5)
    images = training.images.copy()
    images[1] = images[0]  # from here on, the number of a picture and its place among the distinct ones differ
    images[33] = samples.take(np.array([6]))[0]
    told = []
    memorisation, looked = look_for_copies(
        samples,
        features_of(samples, TOY, lambda done, total: None),
        Making.of(*order),
        replace(training, images=images),
        held_out,
        TOY,
        lambda *what: told.append(what),
    )
    assert memorisation.baseline == "24 pictures that training never saw (kept) tell how near is near."
    pixels, features = memorisation.spaces
    for space, look in zip(memorisation.spaces, looked, strict=True):
        assert (space.nearest[0].seed, space.nearest[0].training, space.nearest[0].distance) == (106, 33, 0)
        assert (space.real.data, space.real.n, space.real.training) == ("kept", 24, False)
        assert (space.training.n, space.training.training) == (49, True)
        assert np.array_equal(look.training[0], images[33])
        assert space.quantile == 1 / 24
        assert space.authenticity.method == "wilson"
    assert (pixels.features, features.features.name if features.features else "") == (None, "Toy")
    assert ("looking for copies in pixels", 1, 1) in told
