"""Buckets: batches of one shape, no picture lost or shown more often, the same whoever asks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pictures import encoded
from sfumato.data.buckets import Buckets, bucket_of, bucket_shapes, picture_sizes
from sfumato.data.folder import folder_source
from sfumato.errors import InputError


@settings(max_examples=40)
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=25), st.integers(1, 9), st.integers(0, 5))
def test_pictures_are_shown_equally_often(buckets: list[int], batch: int, seed: int) -> None:
    """After `batch` epochs every bucket has given whole passes: each picture was shown exactly `batch` times."""
    assignment = np.array(buckets)
    count = int((assignment >= 0).sum())
    if count == 0:
        return
    shown: Counter[int] = Counter()
    plan = Buckets(assignment, batch, seed)
    for number in range(count):  # `batch` epochs of count / batch batches
        bucket, index = plan.at(number)
        assert len(index) == batch
        assert (assignment[index] == bucket).all()
        shown.update(index.tolist())
    assert shown == {int(i): batch for i in np.flatnonzero(assignment >= 0)}


def test_a_pass_comes_before_the_next_in_every_bucket() -> None:
    """In each pass of a bucket all its pictures come once; batches of an epoch come in random order."""
    assignment = np.repeat([0, 1, 2], [40, 13, 3])
    plan = Buckets(assignment, 4, 0)
    batches = [plan.at(number) for number in range(56)]
    epochs = [batches[14 * e : 14 * (e + 1)] for e in range(4)]  # 56 / 4 batches each, more or less
    assert len({tuple(k for k, _ in epoch) for epoch in epochs}) == 4
    for k, members in enumerate(([*range(40)], [*range(40, 53)], [*range(53, 56)])):
        counts = Counter(i for bucket, index in batches[:28] if bucket == k for i in index.tolist())
        values = [counts[i] for i in members]
        assert max(values) - min(values) <= 1 + (k == 2)


def test_batches_do_not_depend_on_who_asked_before() -> None:
    assignment = np.arange(2000) % 5
    whole = [Buckets(assignment, 16, 7).at(number) for number in range(150)]
    backwards = Buckets(assignment, 16, 7)
    for number in reversed(range(150)):
        bucket, index = backwards.at(number)
        assert bucket == whole[number][0]
        assert np.array_equal(index, whole[number][1])
    assert not np.array_equal(Buckets(assignment, 16, 8).at(0)[1], whole[0][1])


def test_shapes_have_equal_area() -> None:
    assert bucket_shapes(64 * 64) == ((48, 80), (56, 72), (64, 64), (72, 56), (80, 48))
    for area, step in ((512 * 512, 64), (1024 * 1024, 64), (32 * 32, 4)):
        shapes = bucket_shapes(area, step)
        assert (round(area**0.5), round(area**0.5)) in shapes
        for height, width in shapes:
            assert height % step == width % step == 0
            assert max(height, width) <= 2 * min(height, width)
            assert height * width <= area < (height + step) * (width + step)
    assert bucket_shapes(64 * 64, 8, 1) == ((64, 64),)


def test_the_nearest_shape_crops_least() -> None:
    """Against the share of the picture that `fit` would cut off, for shapes of one area."""
    shapes = bucket_shapes(64 * 64)
    sizes = np.random.default_rng(0).integers(1, 500, (300, 2))

    def kept(size: np.ndarray, shape: tuple[int, int]) -> float:
        ratio = (size[0] / size[1]) / (shape[0] / shape[1])
        return min(ratio, 1 / ratio)

    for size, bucket in zip(sizes, bucket_of(sizes, shapes), strict=True):
        assert kept(size, shapes[bucket]) == pytest.approx(max(kept(size, shape) for shape in shapes))
    assert bucket_of(np.array([[0, 0], [64, 64]]), shapes).tolist() == [-1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_sizes_come_from_headers_upright(tmp_path: Path, workers: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"x")
    (tmp_path / "d.png").write_bytes(encoded(3, (5, 6))[:60])  # the header is whole
    sizes, quota = picture_sizes(folder_source(tmp_path), workers=workers)
    assert sizes.tolist() == [[30, 20], [20, 30], [0, 0], [6, 5]]
    assert list(quota.bad) == [2]


def test_refuses_nonsense() -> None:
    for buckets, batch in (([], 4), ([-1, -1], 4), ([0], 0)):
        with pytest.raises(InputError):
            Buckets(np.array(buckets, int), batch, 0)
    with pytest.raises(InputError, match="none of number -1"):
        Buckets(np.array([0]), 1, 0).at(-1)
    for options in ((63, 8), (64, 0), (64, 8, 0.5), (64, 8, float("nan"))):
        with pytest.raises(InputError):
            bucket_shapes(*options)  # type: ignore
