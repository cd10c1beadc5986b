"""`fluent-3d` and `emoji-large` from made-up packages: a few concepts of the real pack, each picture of one colour."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sfumato.cli.data import Get
from sfumato.data import emoji_large as large
from sfumato.data import fluent_3d as solid
from sfumato.data.dataset import Dataset
from sfumato.data.emoji import codes, emoji, held_out
from sfumato.data.emoji_join import CAPTIONS, FLUENT_3D, GROUPS, SETS
from sfumato.data.pack import read_pack, verify_pack, write_pack
from sfumato.data.sources import open_data
from sfumato.errors import InputError

PACK, GROUP, STYLES = emoji(), list(GROUPS.values()), tuple(SETS)
CODE = dict(zip(PACK.captions, codes(), strict=True))
AWAY = {c: STYLES[row[1]] for c, row in zip(emoji(":held-out").captions, emoji(":held-out").labels, strict=True)}
EVERYWHERE = [c for c in CODE if PACK.captions.count(c) == len(STYLES) and c.isascii()]
# held out in the style `fluent`, in `noto`, in none
FLUENT, NOTO, NONE = (next(c for c in EVERYWHERE if AWAY.get(c) == style) for style in ("fluent", "noto", None))
SMALL = PACK.subset([i for i, c in enumerate(PACK.captions) if c in (FLUENT, NOTO, NONE)])
EXTRA = "flag: Nowhere"  # fluent-3d has it, the pack does not


def colour(caption: str, style: str) -> tuple[int, ...]:
    return tuple(hashlib.sha256(f"{caption} {style}".encode()).digest()[:3])


def about(caption: str) -> tuple[tuple[str, ...], int]:
    """Tags, and the number of the group."""
    i = PACK.captions.index(caption) if caption != EXTRA else None
    return (("no", "where"), GROUP.index("flags")) if i is None else (PACK.tags[i], int(PACK.labels[i, 0]))


def webp(shade: tuple[int, ...], size: tuple[int, int] = (256, 256)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA" if len(shade) == 4 else "RGB", size, shade).save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def captions() -> dict[str, object]:
    """Of emojibase: three concepts, one more, one that has no picture, and a component."""
    message = {group: text for text, group in GROUPS.items()}
    groups = [{"order": i, "message": message[group]} for i, group in enumerate(GROUP)]
    entries: list[dict[str, object]] = [
        {"hexcode": f"{code.upper()}-FE0F", "label": c, "tags": about(c)[0], "group": about(c)[1]}
        for c, code in ((FLUENT, CODE[FLUENT]), (NOTO, CODE[NOTO]), (NONE, CODE[NONE]), (EXTRA, "1f1f3-1f1fc"))
    ]
    entries[0]["skins"] = [{"hexcode": f"{CODE[FLUENT]}-1F3FB", "label": "light"}]
    entries.append({"hexcode": "1F0FF", "label": "never drawn", "group": 0})
    entries.append({"hexcode": "1F3FB", "label": "light skin tone", "group": len(GROUP)})
    groups.append({"order": len(GROUP), "message": "component"})
    return {"en/messages.json": {"groups": groups}, "en/data.json": entries}


def renders() -> dict[str, bytes]:
    """Of fluent-3d: the concepts, the second of them half transparent and the third higher than wide."""
    return {
        f"assets/{CODE[FLUENT]}-fe0f.webp": webp(colour(FLUENT, "fluent-3d")),
        f"assets/{CODE[FLUENT]}-1f3fb.webp": webp((1, 2, 3)),
        f"assets/{CODE[NOTO]}.webp": webp((0, 0, 0, 128)),
        f"assets/{CODE[NONE]}.webp": webp(colour(NONE, "fluent-3d"), (256, 264)),
        "assets/1f1f3-1f1fc.webp": webp((0, 0, 0, 0)),
        "assets/1f3fb.webp": webp((4, 5, 6)),
        "assets/ffff.webp": webp((7, 8, 9)),
    }


def expected_solid() -> Dataset:
    names = (FLUENT, NOTO, NONE, EXTRA)
    shades = [colour(FLUENT, "fluent-3d"), (127,) * 3, colour(NONE, "fluent-3d"), (255,) * 3]
    return Dataset(
        name="fluent-3d",
        images=np.broadcast_to(np.array(shades, np.uint8)[:, None, None], (4, 256, 256, 3)),
        labels=np.array([(about(c)[1], 0) for c in names]),
        kinds={"group": tuple(GROUP), "style": ("fluent-3d",)},
        captions=names,
        tags=tuple(about(c)[0] for c in names),
    )


def icons(style: str) -> dict[str, object]:
    def body(caption: str) -> str:
        red, green, blue = colour(caption, style)
        return f'<path d="M0 0h8v8H0z" fill="#{red:02x}{green:02x}{blue:02x}"/>'

    entries = {c.replace(" ", "-"): {"body": body(c)} for c in (FLUENT, NOTO, NONE)}
    return {"icons.json": {"width": 8, "height": 8, "icons": entries}}


def listing(kinds: dict[str, tuple[str, ...]], labels: np.ndarray, text: str) -> str:
    return hashlib.sha256(json.dumps([list(kinds.items()), labels.tolist(), text]).encode()).hexdigest()


@pytest.fixture
def made_up(tmp_path, files, publish, monkeypatch):
    """Packages of four concepts in the place of the real ones; the small emoji pack has three of them."""
    monkeypatch.setattr(solid, "CAPTIONS", publish(CAPTIONS, captions()))
    monkeypatch.setattr(solid, "FLUENT_3D", publish(FLUENT_3D, renders()))
    right = expected_solid()
    whole = hashlib.sha256((right.fingerprint + right.text_fingerprint).encode()).hexdigest()
    monkeypatch.setattr(solid, "_SHA256", whole)
    monkeypatch.setattr(large, "SETS", {style: publish(package, icons(style)) for style, package in SETS.items()})
    monkeypatch.setattr(large, "emoji", lambda: SMALL)
    monkeypatch.setattr(large, "codes", lambda: tuple(CODE[c] for c in SMALL.captions))
    captioned = dataclasses.replace(
        SMALL.subset([*range(len(SMALL)), 0, 0, 0]),
        captions=(*SMALL.captions, FLUENT, NOTO, NONE),
        tags=(*SMALL.tags, *(about(c)[0] for c in (FLUENT, NOTO, NONE))),
    )
    labels = np.concatenate([SMALL.labels, [(about(c)[1], 5) for c in (FLUENT, NOTO, NONE)]])
    kinds = {"group": tuple(GROUP), "style": (*STYLES, "fluent-3d")}
    monkeypatch.setattr(large, "_LISTING_SHA256", listing(kinds, labels, captioned.text_fingerprint))
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(files=files, cache=tmp_path / "cache", captioned=captioned, labels=labels, kinds=kinds)


def test_fluent_3d(made_up):
    data, right = solid.fluent_3d(files=made_up.files), expected_solid()
    assert np.array_equal(data.images, right.images)  # skin tones, components and strange code points are not there
    assert (data.captions, data.tags, data.kinds) == (right.captions, right.tags, right.kinds)
    assert data.labels.tolist() == right.labels.tolist()
    assert data.licence == "MIT"
    assert "@lobehub/fluent-emoji-3d@1.1.0" in data.source
    assert "emojibase-data@17.0.0" in data.source
    assert [path.name for path in made_up.cache.iterdir()] == ["fluent-3d.safetensors"]


def test_once_kept_it_opens_by_one_word_at_any_size(made_up):
    solid.fluent_3d(files=made_up.files)
    small = open_data("fluent-3d", size=64)
    assert small.images.shape == (4, 64, 64, 3)
    assert np.array_equal(small.images, expected_solid().images[:, :64, :64])
    assert open_data("fluent-3d/flags").captions == (EXTRA,)
    assert open_data("fluent-3d:held-out").captions == (FLUENT,)
    assert open_data("fluent-3d/:train").captions == (NOTO, NONE, EXTRA)
    with pytest.raises(InputError, match=r"fluent-3d/noto: no group or style 'noto'"):
        open_data("fluent-3d/noto")


def test_other_pictures_are_refused(made_up, publish, monkeypatch):
    """The hash over pixels, labels and captions is checked besides that of the archives."""
    wrong = renders() | {f"assets/{CODE[FLUENT]}-fe0f.webp": webp((1, 1, 1))}
    monkeypatch.setattr(solid, "FLUENT_3D", publish(FLUENT_3D, wrong))
    with pytest.raises(InputError, match="are not fluent-3d"):
        solid.fluent_3d(files=made_up.files)
    assert not list(made_up.cache.iterdir())


@pytest.mark.parametrize("bad", [b"", b"RIFF\0\0\0\0WEBPVP8 ", webp((1, 2, 3))[:-20], webp((1, 2, 3), (1001, 1000))])
def test_pictures_that_cannot_be_used_are_named(made_up, publish, monkeypatch, bad):
    file = f"assets/{CODE[NOTO]}.webp"
    monkeypatch.setattr(solid, "FLUENT_3D", publish(FLUENT_3D, renders() | {file: bad}))
    with pytest.raises(InputError, match=rf"{CODE[NOTO]}\.webp: "):
        solid.fluent_3d(files=made_up.files)


def test_a_package_without_pictures(tmp_path):
    with pytest.raises(InputError, match="no picture there has the code point"):
        solid.read_files(tmp_path, {})


@pytest.mark.parametrize("damage", ["bytes", "captions"])
def test_a_damaged_pack_is_made_anew(made_up, caplog, damage):
    good = solid.fluent_3d(files=made_up.files)
    pack = made_up.cache / "fluent-3d.safetensors"
    if damage == "bytes":
        pack.write_bytes(pack.read_bytes()[:-1])
    else:
        write_pack(dataclasses.replace(good, captions=good.captions[::-1]), pack)
    with caplog.at_level(logging.WARNING):
        again = solid.fluent_3d(files=made_up.files)
    assert "damaged" in caplog.text
    assert again.captions == good.captions


@pytest.mark.parametrize("size", [32, 64, 256])
def test_emoji_large(made_up, size):
    pytest.importorskip("resvg_py")
    data = large.emoji_large(size=size, files=made_up.files)
    assert data.images.shape == (18, size, size, 3)
    assert (data.captions, data.tags) == (made_up.captioned.captions, made_up.captioned.tags)
    assert data.labels.tolist() == made_up.labels.tolist()
    assert data.kinds == made_up.kinds
    for picture, caption, row in zip(data.images, data.captions, data.labels, strict=True):
        style = data.kinds["style"][row[1]]
        right = (127,) * 3 if (caption, style) == (NOTO, "fluent-3d") else colour(caption, style)
        assert (picture == right).all()
    assert data.licence == "Apache-2.0 and MIT"
    assert "@iconify-json/noto@1.2.9" in data.source
    assert sorted(path.name for path in made_up.cache.iterdir()) == [
        f"emoji-large-{size}.safetensors",
        "fluent-3d.safetensors",
    ]
    assert verify_pack(made_up.cache / f"emoji-large-{size}.safetensors").fingerprint == data.fingerprint


def test_each_size_is_drawn_once_and_opens_by_one_word(made_up, monkeypatch):
    pytest.importorskip("resvg_py")
    for size in (16, 64):
        large.emoji_large(size=size, files=made_up.files)
    monkeypatch.setattr(large, "render", None)
    assert open_data("emoji-large").images.shape == (18, 64, 64, 3)
    assert open_data("emoji-large/fluent-3d,noto", size=16).images.shape == (6, 16, 16, 3)
    assert open_data("emoji-large", size=16, mode="L").images.shape == (18, 16, 16, 1)


def test_the_split_of_the_pack_holds_and_fluent_3d_goes_with_fluent(made_up):
    pytest.importorskip("resvg_py")
    whole = large.emoji_large(size=8, files=made_up.files)

    def pairs(data):
        return {(c, data.kinds["style"][row[1]]) for c, row in zip(data.captions, data.labels, strict=True)}

    away = open_data("emoji-large:held-out", size=8)
    assert pairs(away) == {(FLUENT, "fluent"), (FLUENT, "fluent-3d"), (NOTO, "noto")}
    assert pairs(open_data("emoji-large:train", size=8)) == pairs(whole) - pairs(away)


def test_the_whole_pack_holds_out_the_same_in_large():
    assert np.array_equal(PACK.images[held_out(PACK)], emoji(":held-out").images)
    twin = dataclasses.replace(PACK, kinds={**PACK.kinds, "style": ("a", "b", "c", "fluent-3d", "d")})
    assert held_out(twin).sum() == sum(style == "fluent" for style in AWAY.values()) > 50


def test_the_extra_is_asked_for_before_anything_is_fetched(made_up, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(InputError, match=r"pip install 'sfumato\[data\]'"):
        large.emoji_large(files=made_up.files)
    assert not list(made_up.cache.iterdir())


def test_the_command_gets_them(made_up, capsys):
    pytest.importorskip("resvg_py")
    Get("emoji-large/noto", files=made_up.files, size=8).run()
    Get("fluent-3d").run()
    printed = capsys.readouterr().out
    assert "emoji-large/noto: 3 pictures, verified, in" in printed
    assert "fluent-3d: 4 pictures" in printed
    assert (made_up.cache / "emoji-large-8.safetensors").is_file()
    with pytest.raises(InputError, match="--size 8: only emoji-large is drawn"):
        Get("fluent-3d", size=8).run()


@pytest.mark.parametrize("size", [0, 257])
def test_sizes_that_there_are_not(size):
    with pytest.raises(InputError, match=r"1 … 256 pixels, not"):
        large.emoji_large(size=size)


def test_a_wrong_archive_or_icon_leaves_nothing(made_up, publish, monkeypatch):
    pytest.importorskip("resvg_py")
    hostile = icons("noto")
    hostile["icons.json"]["icons"][NONE.replace(" ", "-")]["body"] = '<image href="/etc/hostname"/>'  # type: ignore[index]
    package = publish(SETS["noto"], hostile)
    with pytest.raises(InputError, match="is not @iconify-json/noto"):
        large.emoji_large(size=8, files=made_up.files)
    monkeypatch.setitem(large.SETS, "noto", package)
    with pytest.raises(InputError, match="outside of itself"):
        large.emoji_large(size=8, files=made_up.files)
    monkeypatch.setitem(large.SETS, "noto", publish(SETS["noto"], {"icons.json": {"icons": {}}}))
    with pytest.raises(InputError, match="the set has no icon for"):
        large.emoji_large(size=8, files=made_up.files)
    assert [path.name for path in made_up.cache.iterdir()] == ["fluent-3d.safetensors"]


def test_a_pack_of_other_sources_or_captions_is_made_anew(made_up, caplog):
    pytest.importorskip("resvg_py")
    good = large.emoji_large(size=8, files=made_up.files)
    pack = made_up.cache / "emoji-large-8.safetensors"
    for other in (
        dataclasses.replace(good, source="older packages"),
        dataclasses.replace(good, captions=good.captions[::-1]),
        dataclasses.replace(good, images=good.images[:, :4, :4]),
    ):
        write_pack(other, pack)
        with caplog.at_level(logging.WARNING):
            large.emoji_large(size=8, files=made_up.files)
        assert "damaged" in caplog.text
        assert read_pack(pack).fingerprint == good.fingerprint
        caplog.clear()
