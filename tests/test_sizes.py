"""Sizes as people write them."""

from __future__ import annotations

import pytest

from sfumato.errors import InputError
from sfumato.sizes import parse_size, written


@pytest.mark.parametrize(
    ("text", "size"),
    [("64", (64, 64)), ("48x32", (32, 48)), ("48X32", (32, 48)), ("48×32", (32, 48)), ("016", (16, 16))],
)
def test_width_comes_first_and_height_first_inside(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size
    assert parse_size(written(size)) == size


@pytest.mark.parametrize(
    "text", ["", "0", "64x0", "-1", "1.5", "3x", "axb", "1x2x3", "٣", "9999999", " 64", "9" * 5000]
)
def test_what_is_no_size_is_told_where_it_stands(text: str) -> None:
    with pytest.raises(InputError, match=r"^--size '.{0,40}': write WIDTHxHEIGHT"):
        parse_size(text, "--size")


def test_a_size_is_written_as_it_is_read() -> None:
    assert written((32, 48)) == "48x32"
