"""How pictures become (H, W): crops where they should lie, padding that loses nothing, and what stretches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data.framing import Framing
from sfumato.errors import InputError
from sfumato.images import fit, pad, stretch


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows downwards, green to the right: a pixel tells where it was."""
    down, right = np.mgrid[0:height, 0:width]
    return np.stack([down, right, 0 * down], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("at", "corner"), [((0, 1), (0, 20)), ((1, 0), (40, 0)), ((0.5, 0.5), (20, 10))])
def test_crops_lie_where_they_are_asked_for(at: tuple[float, float], corner: tuple[int, int]) -> None:
    tall, wide = ramp(100, 60), ramp(60, 80)
    assert fit(tall, 60, at=at)[0, 0].tolist() == [corner[0], 0, 0]  # scale 1: pixels are untouched
    assert fit(wide, 60, at=at)[0, 0].tolist() == [0, corner[1], 0]
    small = fit(ramp(200, 160), (80, 40), at=at)  # 2.5 to 1, of 100 columns: the centre of a pixel is at half of it
    assert small[40, 20, 0] == pytest.approx(2.5 * 40.5 - 0.5, abs=1)
    assert small[40, 20, 1] == pytest.approx((160 - 100) * at[1] + 2.5 * 20.5 - 0.5, abs=1)


def test_share_keeps_a_smaller_rectangle() -> None:
    kept = fit(ramp(100, 100), 50, share=0.5, at=(0.2, 1))
    assert np.array_equal(kept, ramp(100, 100)[10:60, 50:100])  # half of 100 at scale 1
    assert fit(ramp(100, 100), 50, share=0.25)[25, 25].tolist() == pytest.approx([50, 50, 0], abs=1)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
def test_padding_keeps_everything(height: int, width: int, to_height: int, to_width: int) -> None:
    image = np.zeros((height, width, 1), np.uint8)
    padded = pad(image, (to_height, to_width), "white")
    assert padded.shape == (to_height, to_width, 1)
    rows, columns = (np.flatnonzero((padded[:, :, 0] == 0).any(axis)) for axis in (1, 0))
    scale = min(to_height / height, to_width / width)
    # all of it is there, one side fills the target, and it lies in the middle
    assert abs(len(rows) - max(1, height * scale)) <= 0.5 + 1e-9
    assert abs(len(columns) - max(1, width * scale)) <= 0.5 + 1e-9
    assert len(rows) == to_height or len(columns) == to_width
    assert rows[0] == (to_height - len(rows)) // 2
    assert columns[0] == (to_width - len(columns)) // 2


def test_padding_in_colour() -> None:
    padded = pad(ramp(10, 20), (20, 20), "#0000ff")
    assert np.array_equal(padded[5:15], ramp(10, 20))  # scale 1: untouched
    assert (padded[:5] == [0, 0, 255]).all()
    assert (padded[15:] == [0, 0, 255]).all()
    with pytest.raises(InputError, match="no colour"):
        pad(ramp(10, 20), 20, "nothing")


def test_random_crops_are_a_function_of_seed_and_number() -> None:
    framing, image = Framing((12, 16), "random", seed=3), ramp(100, 200)
    first = framing(image, 7)
    assert first.shape == (12, 16, 3)
    assert np.array_equal(Framing((12, 16), "random", seed=3)(image, 7), first)
    assert not np.array_equal(framing(image, 8), first)
    assert not np.array_equal(Framing((12, 16), "random", seed=4)(image, 7), first)


def test_random_crops_spread_over_sizes_and_places() -> None:
    image, framing = ramp(100, 100), Framing((50, 50), "random", least=0.6)
    crops = np.stack([framing(image, n) for n in range(300)]).astype(float)
    side = (crops[:, 45, 25, 0] - crops[:, 5, 25, 0]) / 40 * 50  # of what was kept
    top = crops[:, 25, 25, 0] - side / 2
    assert side.min() == pytest.approx(60, abs=3)
    assert side.max() == pytest.approx(100, abs=3)
    place = (top[side < 90]) / (100 - side[side < 90])
    assert (place.min(), place.max()) == (pytest.approx(0, abs=0.07), pytest.approx(1, abs=0.07))
    assert place.mean() == pytest.approx(0.5, abs=0.08)


def test_stretching_keeps_all_of_the_picture_and_not_its_shape() -> None:
    stretched = Framing((40, 25), "stretch")(ramp(200, 50))  # 5 to 1 down, 2 to 1 across
    assert stretched.shape == (40, 25, 3)
    assert stretched[20, 12].tolist() == pytest.approx([5 * 20.5 - 0.5, 2 * 12.5 - 0.5, 0], abs=1)
    assert stretched[0, 0].tolist() == pytest.approx([2, 0.5, 0], abs=1.5)
    assert stretched[-1, -1].tolist() == pytest.approx([197, 48.5, 0], abs=1.5)
    assert np.array_equal(stretch(ramp(10, 20), (10, 20)), ramp(10, 20))
    assert stretch(ramp(10, 20)[:, :, :1], 7).shape == (7, 7, 1)


def test_refuses_nonsense() -> None:
    for how in ({"size": (0, 3)}, {"size": (3, 3), "how": "squash"}, {"size": (3, 3), "least": 0}):
        with pytest.raises(InputError):
            Framing(**how)  # type: ignore
    for crop in ({"share": 0}, {"share": 1.1}, {"at": (-0.1, 0)}, {"at": (0, float("nan"))}, {"share": float("nan")}):
        with pytest.raises(InputError, match="no crop"):
            fit(ramp(9, 9), 4, **crop)  # type: ignore
