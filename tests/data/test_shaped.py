"""Batches of one shape each: which shapes, which pictures, what stands in for one that cannot be read."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pictures import encoded, levels, zipped
from sfumato.data.buckets import bucket_of, bucket_shapes
from sfumato.data.framing import Framing
from sfumato.data.on_demand import OnDemand
from sfumato.data.shaped import Shaped
from sfumato.data.zipped import zip_source
from sfumato.errors import InputError

WIDE, TALL, SQUARE = (40, 24), (24, 40), (30, 30)  # (width, height)


def data(tmp_path: Path, bad: dict[int, int] | None = None, count: int = 30) -> OnDemand:
    """Picture i has the grey level 8·i and the shape i % 3; of a bad one only so many bytes are left."""
    files = {}
    for i in range(count):
        whole = encoded(8 * i, (WIDE, TALL, SQUARE)[i % 3])
        files[f"{i:02}.png"] = whole[: (bad or {}).get(i)]
    return OnDemand(zip_source(zipped(tmp_path / "a.zip", files)), Framing.of(16))


def test_every_picture_keeps_nearly_its_shape(tmp_path: Path) -> None:
    shaped = Shaped(data(tmp_path), 4, 5, 0)
    assert shaped.shapes == ((12, 20), (16, 16), (20, 12))  # (height, width), all of them used
    for number in range(12):
        index, images, _ = shaped.fetch(range(5 * number, 5 * number + 5))
        height, width = images.shape[1:3]
        assert {int(i) % 3 for i in index} == {{(12, 20): 0, (20, 12): 1, (16, 16): 2}[height, width]}
        assert levels(images) == [8 * int(i) for i in index]
    assert shaped.text() == (
        "batches of 3 shapes (width x height):\n  20x12: 10 pictures\n  16x16: 10 pictures\n  12x20: 10 pictures"
    )


def test_shapes_that_no_picture_has_are_left_out(tmp_path: Path) -> None:
    files = {f"{i}.png": encoded(i, TALL) for i in range(4)}
    some = OnDemand(zip_source(zipped(tmp_path / "a.zip", files)), Framing.of(16))
    shaped = Shaped(some, 4, 2, 0)
    assert shaped.shapes == ((20, 12),)
    assert shaped.fetch(range(2)).images.shape == (2, 20, 12, 3)


@pytest.mark.parametrize(("size", "divisor", "step"), [(512, 8, 64), (64, 4, 8), (32, 8, 8), (16, 2, 2), (8, 4, 4)])
def test_sides_differ_by_about_an_eighth_and_fit_the_network(
    tmp_path: Path, size: int, divisor: int, step: int
) -> None:
    live = OnDemand(zip_source(zipped(tmp_path / "a.zip", {"a.png": encoded(1, WIDE)})), Framing.of(size))
    offered = bucket_shapes(size * size, step)
    assert Shaped(live, divisor, 1, 0).shapes == (offered[int(bucket_of(np.array([WIDE[::-1]]), offered)[0])],)


def test_parts_of_a_batch_are_parts_of_it_and_no_part_is_of_two(tmp_path: Path) -> None:
    live = data(tmp_path)
    whole = Shaped(live, 4, 6, 3).fetch(range(12, 18))
    for cut in ((12, 14, 18), (12, 13, 14, 15, 16, 17, 18)):
        parts = [Shaped(live, 4, 6, 3).fetch(range(a, b)) for a, b in pairwise(cut)]
        assert np.array_equal(np.concatenate([part.taken for part in parts]), whole.taken)
        assert np.array_equal(np.concatenate([part.images for part in parts]), whole.images)
    with pytest.raises(InputError, match=r"11 … 12 are of several batches of 6"):
        Shaped(live, 4, 6, 3).fetch(range(11, 13))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_of_the_same_shape_stands_in_for_a_bad_one(tmp_path: Path, workers: int) -> None:
    live = data(tmp_path, bad={4: 60})  # its header is whole
    shaped = Shaped(live, 4, 5, 0, workers)
    shown: Counter[int] = Counter()
    for number in range(30):  # five epochs
        fetched = shaped.fetch(range(5 * number, 5 * number + 5))
        shown.update(fetched.taken.tolist())
        assert len({int(i) % 3 for i in fetched.taken}) == 1
        assert set(fetched.unreadable) <= {4}
    assert shown == {i: {4: 0, 7: 10}.get(i, 5) for i in range(30) if i != 4}


def test_where_a_shape_has_no_good_picture_another_is_cropped(tmp_path: Path) -> None:
    files = {"0.png": encoded(1, SQUARE), "1.png": encoded(2, WIDE)[:60], "2.png": encoded(3, TALL), "3.png": b""}
    live = OnDemand(zip_source(zipped(tmp_path / "a.zip", files)), Framing.of(16), max_bad=0.5)
    shaped = Shaped(live, 4, 1, 0)
    assert live.quota.bad.keys() == {3}  # its header was looked at
    fetched = [shaped.fetch(range(n, n + 1)) for n in range(3)]
    assert sorted(int(f.taken[0]) for f in fetched) == [0, 2, 2]
    assert {f.images.shape[1:3] for f in fetched} == {(12, 20), (16, 16), (20, 12)}


def test_too_many_bad_headers_are_too_many(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"4 of 30 pictures .* cannot be read"):
        Shaped(data(tmp_path, bad=dict.fromkeys(range(4), 10)), 4, 5, 0)


def test_fingerprint_knows_which_picture_has_which_shape(tmp_path: Path) -> None:
    base = Shaped(data(tmp_path), 4, 5, 0).fingerprint
    assert Shaped(data(tmp_path), 4, 5, 0).fingerprint == base
    assert Shaped(data(tmp_path), 8, 5, 0).fingerprint != base
    assert Shaped(data(tmp_path, count=29), 4, 5, 0).fingerprint != base
