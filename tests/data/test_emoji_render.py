"""Vector icons become pictures; what is hostile in them is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from sfumato.data.emoji_render import render, require_resvg
from sfumato.errors import InputError

XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'


def icons(body, **more):
    return {"width": 8, "height": 8, "icons": {"it": {"body": body, **more}}}


@pytest.fixture(autouse=True)
def _resvg(request):
    if "without_resvg" not in request.fixturenames:
        pytest.importorskip("resvg_py")


@pytest.mark.parametrize("size", [1, 32, 64, 100, 256])
def test_any_size_on_white(size):
    picture = render(icons('<path d="M0 0h4v8H0z" fill="#f00"/>'), "it", size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    half = size // 2
    assert (picture[:, :half] == (255, 0, 0)).all()
    assert (picture[:, size - half :] == 255).all()


@pytest.mark.parametrize("size", [32, 128, 256])
def test_colours_are_averaged_and_transparency_is_white(size):
    # a thirty-second of the width: one pixel of 32, and a quarter of it is covered
    stripe = render(icons('<path d="M0 0h.0625v8H0z" fill="#000"/>', width=8), "it", size)
    assert stripe[:, : size // 32].mean() == pytest.approx(255 * 0.75, abs=1)
    glass = render(icons('<path d="M0 0h8v8H0z" fill="#000" fill-opacity=".5"/>'), "it", size)
    assert np.ptp(glass) == 0
    assert abs(int(glass.flat[0]) - 127) <= 1


def test_an_icon_has_its_own_view():
    body = '<path d="M8 8h2v4H8z" fill="#00f"/>'
    picture = render(icons(body, left=8, top=8, width=2, height=4), "it", 64)
    assert (picture[:, 16:48] == (0, 0, 255)).all()  # twice as high as wide: in the middle, nothing cut
    assert (picture[:, :15] == 255).all()


def test_references_within_the_icon_are_welcome():
    body = f'<defs><path id="a" d="M0 0h8v8H0z" fill="#0f0"/></defs><use {XLINK} xlink:href="#a"/>'
    assert (render(icons(body), "it", 8) == (0, 255, 0)).all()


@pytest.mark.parametrize(
    "reference", ["{file}", "file://{file}", "https://localhost/a.png", "data:image/png;base64,AA", ""]
)
def test_references_to_elsewhere_are_refused(tmp_path, reference):
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "a.png")
    address = reference.format(file=tmp_path / "a.png")
    for body in (
        f'<image width="8" height="8" {XLINK} xlink:href="{address}"/>',
        f'<image width="8" height="8" href="{address}"/>',
        f'<filter id="f"><feImage href="{address}"/></filter>',
        f'<image width="8" height="8" xmlns:x="http://www.w3.org/1999/xlink" x:href="{address}"/>',
    ):
        with pytest.raises(InputError, match=r"the icon 'it' cannot be drawn: it refers to .* outside of itself"):
            render(icons(body), "it", 8)
    with pytest.raises(InputError, match="outside of itself"):  # smuggled in through a number
        render(icons("", width=f'8"><image href="{address}"/><path d="'), "it", 8)


BOMB = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<path", "no XML"),
        ("<g></svg>", "no XML"),
        ("</svg><svg>", "no XML"),
        ("\0", "no XML"),
        ("&a9;", "no XML"),
        (f'<!DOCTYPE svg [<!ENTITY a0 "a">{BOMB}]><text>&a9;</text>', "no XML"),
        ('<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/hostname">]><text>&x;</text>', "no XML"),
        ("<g>" * 50 + "</g>" * 50, "more than 50 deep"),
        ("<g>" * 100_000 + "</g>" * 100_000, "more than 50 deep"),  # resvg 0.5.0 would end the process
        (" " * 2_000_001, "characters are more than"),
    ],
)
def test_hostile_icons(body, message):
    with pytest.raises(InputError, match=message):
        render(icons(body), "it", 8)


def test_a_document_that_resvg_refuses():
    copies = [f'<use {XLINK} xlink:href="#u{i}"/>' * 10 for i in range(9)]
    groups = "".join(f'<g id="u{i}">{uses}</g>' for i, uses in enumerate(copies, 1))
    body = f'<defs><path id="u0" d="M0 0h8v8H0z"/>{groups}</defs><use {XLINK} xlink:href="#u9"/>'
    with pytest.raises(InputError, match="nodes limit"):  # 10 ^ 9 copies of one path
        render(icons(body), "it", 8)


@pytest.fixture
def without_resvg(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)


@pytest.mark.usefixtures("without_resvg")
def test_the_extra_is_named():
    with pytest.raises(InputError, match=r"needs an extra: pip install 'sfumato\[data\]'"):
        require_resvg()
    with pytest.raises(InputError, match="needs an extra"):
        render(icons(""), "it", 8)
