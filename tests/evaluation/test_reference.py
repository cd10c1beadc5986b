import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.evaluation import reference
from sfumato.evaluation.extractors.extractor import Extractor
from sfumato.evaluation.reference import reference_features

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
DATA = Dataset("noise", IMAGES, np.zeros((9, 0), np.int64))
ROWS = np.array([5, 0, 7, 2])


def means(images):
    return images.mean((1, 2), dtype=np.float32)


class Counting:
    """An extractor that counts the pictures that it is given."""

    def __init__(self, features=means, width=3, name="Means"):
        self.seen = 0

        def counted(images):
            self.seen += len(images)
            return features(images)

        self.extractor = Extractor(name, "0" * 64, "none", width, counted)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path))
    return tmp_path / "features"


def test_they_are_computed_once(cache):
    counting = Counting()
    first = reference_features(counting.extractor, DATA, ROWS)
    assert (first.dtype, counting.seen) == (np.float32, 4)
    assert np.array_equal(first, means(IMAGES[ROWS]))
    assert len(list(cache.iterdir())) == 1
    assert np.array_equal(reference_features(counting.extractor, DATA, ROWS), first)
    assert counting.seen == 4


def test_the_same_pictures_elsewhere_are_the_same(cache):
    counting = Counting()
    first = reference_features(counting.extractor, DATA, ROWS)
    other = replace(DATA.subset(ROWS), name="other", source="elsewhere")
    assert np.array_equal(reference_features(counting.extractor, other, np.arange(4)), first)
    assert counting.seen == 4


@pytest.mark.parametrize(
    "changed",
    [
        lambda e, d: (e, d, ROWS[::-1]),
        lambda e, d: (e, d, ROWS[:3]),
        lambda e, d: (replace(e, name="Other"), d, ROWS),
        lambda e, d: (replace(e, sha256="1" * 64), d, ROWS),
        lambda e, d: (replace(e, preprocessing="halved"), d, ROWS),
        lambda e, d: (replace(e, settings="4 heads"), d, ROWS),
        lambda e, d: (e, replace(d, images=d.images ^ (np.arange(9 * 48).reshape(d.images.shape) == 5 * 48)), ROWS),
        lambda e, d: (e, replace(d, images=d.images.reshape(9, 2, 8, 3)), ROWS),
    ],
)
def test_what_differs_is_computed_anew(cache, changed):
    counting = Counting()
    reference_features(counting.extractor, DATA, ROWS)
    extractor, data, rows = changed(counting.extractor, DATA)
    found = reference_features(extractor, data, rows)
    assert counting.seen == 4 + len(rows)
    assert np.array_equal(found, means(data.images[rows]))
    assert len(list(cache.iterdir())) == 2


def truncate(path, _):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path, _):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def flip_header(path, _):
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.write_bytes(content)


def swap(path, other):
    path.write_bytes(other.read_bytes())


def rename_tensor(path, _):
    save_file({"other": load_file(path)["features"]}, path)


def narrow(path, _):
    save_file({"features": load_file(path)["features"].astype(np.float16)}, path)


def forge(path, _):
    """Other features under the same question, whose sum somebody forgot."""
    with reference.safe_open(path, framework="numpy") as file:
        about = file.metadata()
    save_file({"features": load_file(path)["features"] + 1}, path, about)


def reshape(path, _):
    """The same bytes in another shape."""
    with reference.safe_open(path, framework="numpy") as file:
        about = file.metadata()
    save_file({"features": load_file(path)["features"].reshape(3, 4)}, path, about)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip,
        flip_header,
        swap,
        rename_tensor,
        narrow,
        forge,
        reshape,
        lambda path, _: path.write_bytes(b""),
        lambda path, _: path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}"),
    ],
)
def test_a_damaged_file_is_made_anew(cache, damage, caplog):
    counting = Counting()
    first = reference_features(counting.extractor, DATA, ROWS)
    (path,) = cache.iterdir()
    reference_features(counting.extractor, DATA, ROWS[::-1])
    (other,) = set(cache.iterdir()) - {path}
    damage(path, other)
    with caplog.at_level(logging.WARNING, "sfumato"):
        assert np.array_equal(reference_features(counting.extractor, DATA, ROWS), first)
    assert f"{path}" in caplog.text
    assert "computed anew" in caplog.text
    caplog.clear()
    assert np.array_equal(reference_features(counting.extractor, DATA, ROWS), first)
    assert (counting.seen, caplog.text) == (12, "")


def test_a_cache_that_cannot_be_written_to_stops_nothing(cache, caplog):
    cache.write_text("a file, where the folder should be")
    counting = Counting()
    with caplog.at_level(logging.WARNING, "sfumato"):
        assert np.array_equal(reference_features(counting.extractor, DATA, ROWS), means(IMAGES[ROWS]))
    assert "features are not kept" in caplog.text
    assert cache.is_file()


def test_progress_is_told_and_an_interruption_leaves_nothing(cache, monkeypatch):
    monkeypatch.setattr(reference, "CHUNK", 3)
    told = []
    rows = np.arange(8)
    reference_features(Counting().extractor, DATA, rows, told.append)
    assert told == [3, 6, 8]
    reference_features(Counting().extractor, DATA, rows, told.append)
    assert told == [3, 6, 8, 8]

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reference_features(Counting().extractor, DATA, rows[:5], interrupt)
    assert len(list(cache.iterdir())) == 1


def test_what_cannot_be_features_is_not_kept(cache):
    for features, message in (
        (lambda x: means(x) / 0 * 0, "Means's features of noise hold NaN"),
        (lambda x: means(x)[:, :2], r"makes features \(4, 2\), not \(4, 3\)"),
        (lambda x: means(x)[1:], r"makes features \(3, 3\), not \(4, 3\)"),
    ):
        with np.errstate(all="ignore"), pytest.raises(InputError, match=message):
            reference_features(Counting(features).extractor, DATA, ROWS)
    assert not cache.exists()


@pytest.mark.parametrize(
    "rows",
    [
        np.array([0, 9]),
        np.array([-1]),
        np.array([], np.int64),
        np.array([0.0]),
        np.zeros((2, 2), int),
        DATA.images == 0,
    ],
)
def test_rows_that_are_not_there(cache, rows):
    with pytest.raises(InputError, match="rows must be"):
        reference_features(Counting().extractor, DATA, rows)


def test_the_file_says_what_it_holds(cache):
    counting = Counting()
    reference_features(counting.extractor, DATA, ROWS)
    (path,) = cache.iterdir()
    with reference.safe_open(path, framework="numpy") as file:
        asked = json.loads(file.metadata()["asked"])
    assert asked["extractor"] == counting.extractor.key
    assert asked["shape"] == [4, 4, 4, 3]
