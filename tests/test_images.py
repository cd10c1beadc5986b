"""Hostile and odd pictures: each rule of `images` has a test that fails without it."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from sfumato.errors import InputError
from sfumato.images import Images, TooManyPixelsError, decode, fit, save_png, shown


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth colours with a little texture: compresses like a photograph."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 30, (height, width))
    return np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8) // 2 + noise[:, :, None].astype(np.uint8)


def png_by_hand(width: int, height: int, raw: bytes = b"") -> bytes:
    """A grey 8-bit PNG with any header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def profile_with_swapped_colours() -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged: any picture with it shows whether it is obeyed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    entries = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = entries[b"rXYZ"] + 4, entries[b"bXYZ"] + 4
    profile[red : red + 8], profile[blue : blue + 8] = profile[blue : blue + 8], profile[red : red + 8]
    return bytes(profile)


def linear_grey_profile() -> bytes:
    """A colour profile for grey pictures whose samples are proportional to light."""
    white = struct.pack(">4s4x3I", b"XYZ ", 0xF6D6, 0x10000, 0xD32D)
    curve = struct.pack(">4s4xIH2x", b"curv", 1, 256)  # gamma 1.0
    start = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + struct.pack(">4sII", b"wtpt", start, len(white))
    tags += struct.pack(">4sII", b"kTRC", start + len(white), len(curve)) + white + curve
    header = struct.pack(">I4xI4s4s4s12x4s", 128 + len(tags), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    return header.ljust(68, b"\0") + white[8:] + bytes(48) + tags


def test_plain_pictures_are_unchanged() -> None:
    array = photo()
    assert np.array_equal(decode(encoded(Image.fromarray(array))), array)
    grey = decode(encoded(Image.fromarray(array[:, :, 0])), mode="L")
    assert np.array_equal(grey[:, :, 0], array[:, :, 0])


@pytest.mark.parametrize("side", [9_000, 60_000], ids=["beyond ours", "beyond Pillow's"])
def test_bomb_is_refused_from_its_header(side: int, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_by_hand(side, side))
    with pytest.raises(TooManyPixelsError, match=r"bomb\.png.*limit"):
        decode(bomb)


def test_pillows_bomb_warning_does_not_leak() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(TooManyPixelsError):
            decode(png_by_hand(10_000, 10_000))
    assert not caught


def test_own_limit_counts_every_pixel() -> None:
    content = encoded(Image.new("RGB", (10, 10)))
    assert decode(content, max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(TooManyPixelsError, match="10 x 10"):
        decode(content, max_pixels=99)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_pictures_are_refused(kind: str, share: float) -> None:
    content = encoded(Image.fromarray(photo()), kind)
    assert decode(content).shape == (48, 64, 3)
    with pytest.raises(InputError, match="picture of"):
        decode(content[: int(len(content) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 200  # the top left quarter is light
    back = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1)}
    back |= {6: np.rot90, 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(back[orientation](upright)))
    array = decode(encoded(stored, kind, exif=exif))
    assert array.shape == upright.shape
    assert np.abs(array.astype(int) - upright).mean() < 2


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on broken tags
def test_broken_exif_does_not_spoil_the_picture() -> None:
    content = encoded(Image.fromarray(photo()), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\x99" * 40)
    assert decode(content).shape == (48, 64, 3)


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert decode(encoded(cyan, "JPEG"))[8, 8].tolist() == pytest.approx([0, 255, 255], abs=3)


def test_colour_profile_is_obeyed_and_dropped() -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    content = encoded(red, icc_profile=profile_with_swapped_colours())
    assert decode(content)[4, 4].tolist() == pytest.approx([0, 0, 255], abs=3)
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    blended = decode(encoded(clear, icc_profile=profile_with_swapped_colours()))[4, 4]
    assert blended.tolist() == pytest.approx([127, 127, 255], abs=3)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_profile_is_obeyed(mode: str) -> None:
    half_the_light = Image.new("LA", (8, 8), (128, 255)).convert(mode)
    content = encoded(half_the_light, icc_profile=linear_grey_profile())
    assert decode(content)[4, 4].tolist() == pytest.approx([188] * 3, abs=2)  # sRGB spreads the dark tones


@pytest.mark.parametrize("profile", [b"no profile at all", profile_with_swapped_colours()[:200]])
def test_broken_colour_profile_is_ignored(profile: bytes) -> None:
    array = photo()
    assert np.array_equal(decode(encoded(Image.fromarray(array), icc_profile=profile)), array)


def test_profile_for_other_pixels_is_ignored() -> None:
    grey = Image.new("L", (8, 8), 100)
    assert decode(encoded(grey, icc_profile=profile_with_swapped_colours()))[4, 4].tolist() == [100, 100, 100]


def test_transparency_is_composited() -> None:
    clear_red = encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))
    assert decode(clear_red)[0, 0].tolist() == [255, 255, 255]
    assert decode(clear_red, background="#0000ff")[0, 0].tolist() == [0, 0, 255]
    half = encoded(Image.new("LA", (4, 4), (0, 128)))
    assert decode(half, mode="L")[0, 0].tolist() == pytest.approx([127], abs=1)


@pytest.mark.filterwarnings("error")
def test_palette_and_key_colour_transparency() -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((0, 0), 1)
    for kind in ("PNG", "GIF"):
        array = decode(encoded(palette, kind, transparency=0))
        assert array[0, 0].tolist() == [0, 255, 0]
        assert array[2, 2].tolist() == [255, 255, 255]
    array = decode(encoded(palette, transparency=bytes([128, 255])))  # an opacity for each colour
    assert array[2, 2].tolist() == pytest.approx([255, 127, 127], abs=1)
    key = encoded(Image.new("RGB", (4, 4), (255, 0, 0)), transparency=(255, 0, 0))
    assert decode(key)[0, 0].tolist() == [255, 255, 255]
    grey = encoded(Image.new("L", (4, 4), 7), transparency=7)
    assert decode(grey)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    for values in (ramp, ramp.astype(np.int32)):
        if kind == "PNG" and values.dtype == np.int32:
            continue
        array = decode(encoded(Image.fromarray(values), kind), mode="L")
        assert np.array_equal(array[:, :, 0], np.round(ramp / 257).astype(np.uint8))
        assert array.mean() == pytest.approx(127.5, abs=0.1)


def test_16_bit_key_colour_is_transparent() -> None:
    values = np.array([[1000, 2000]], np.uint16)
    array = decode(encoded(Image.fromarray(values), transparency=1000), mode="L")
    assert array[0, :, 0].tolist() == [255, 8]


@pytest.mark.parametrize("values", [np.full((4, 4), 70_000, np.int32), np.zeros((4, 4), np.float32)])
def test_samples_of_unknown_range_are_refused(values: np.ndarray) -> None:
    with pytest.raises(InputError, match="8 or 16 bits"):
        decode(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert decode(content)[4, 4].tolist() == pytest.approx([255, 0, 0], abs=2)


@pytest.mark.parametrize("content", [b"", b"This is a letter.", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_picture_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "letter.png"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"letter\.png: not a picture in a known format"):
        decode(file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name in ("folder.png", "pipe.png"):
        with pytest.raises(InputError, match=f"{name}: not a file"):
            decode(tmp_path / name)
    for name in ("absent.png", "loop.png"):
        with pytest.raises(InputError, match=f"{name}: "):
            decode(tmp_path / name)
    with pytest.raises(InputError, match="too long"):
        decode(tmp_path / ("x" * 5000 + ".png"))


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    assert shown(Path("a\x1b[2Jb\n\udcff.png")) == "a\\x1b[2Jb\\n\\udcff.png"
    with pytest.raises(InputError) as caught:
        decode(tmp_path / "a\x1b[2J.png")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(("background", "mode", "message"), [("mud", "RGB", "'mud'"), ("white", "CMYK", "'CMYK'")])
def test_wrong_options_are_input_errors(background: str, mode: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode(encoded(Image.new("RGB", (4, 4))), background=background, mode=mode)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on broken tags
@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]), data=st.data())
def test_damage_gives_a_picture_or_an_input_error(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(Image.fromarray(photo(8, 8)), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        array = decode(bytes(content), max_pixels=100_000)
    except InputError:
        return
    assert array.dtype == np.uint8
    assert array.ndim == 3


def test_fine_checkerboard_shrinks_to_mid_grey() -> None:
    board = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    for size in (32, 37, 200):
        inner = fit(board, size)[2:-2, 2:-2]
        assert np.abs(inner.astype(int) - 127.5).max() < 8


def test_fit_covers_and_crops_the_centre() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert np.array_equal(fit(wide, 10), np.full((10, 10, 3), 255))
    assert fit(wide, (20, 40)).shape == (20, 40, 3)
    assert fit(wide[:, :, :1], (5, 3)).shape == (5, 3, 1)


def test_fit_takes_every_size() -> None:
    for side in range(1, 120):  # the part to keep can round to just beyond the picture
        for size in (7, 10, 13, 49, 97):
            assert fit(np.full((side, side, 1), 9, np.uint8), size).max() == 9


def test_fit_at_scale_one_keeps_pixels() -> None:
    array = photo(33, 48)
    assert np.array_equal(fit(array, (33, 48)), array)
    assert np.array_equal(fit(array, 33), array[:, 7:40])  # 15 to spare: no half pixels


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_fit_refuses_other_arrays(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        fit(bad, 4)
    with pytest.raises(InputError, match="at least 1 x 1"):
        fit(np.zeros((4, 4, 3), np.uint8), 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_save_and_read_back(channels: int, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 256, (3, 6, 5, channels), dtype=np.uint8)
    images = Images(array, [{"seed": str(i), "note": "größer ≥"} for i in range(3)])
    paths = images.save(tmp_path / "out")
    assert [path.name for path in paths] == ["0000.png", "0001.png", "0002.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in paths]
    for i, path in enumerate(paths):
        assert np.array_equal(decode(path, mode="RGB" if channels == 3 else "L"), array[i])
        with Image.open(path) as stored:
            assert stored.info["seed"] == str(i)
            assert stored.info["note"] == "größer ≥"


def test_images_are_a_sequence() -> None:
    array = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 2, 2, 1)
    images = Images(array, [{"i": str(i)} for i in range(4)])
    assert len(images) == len(list(images)) == 4
    assert np.array_equal(images[np.int64(-1)], array[3])
    part = images[1:3]
    assert isinstance(part, Images)
    assert np.array_equal(part.array, array[1:3])
    assert list(part.metadata) == [{"i": "1"}, {"i": "2"}]
    assert repr(part) == "Images(2 of 2x2, grey)"


def test_grid_is_nearly_square() -> None:
    images = Images(np.stack([np.full((4, 6, 3), 10 * i, np.uint8) for i in range(5)]))
    sheet = images.grid()
    assert sheet.shape == (2 * 6 + 2, 3 * 8 + 2, 3)
    assert (sheet[8:12, 10:16] == 40).all()  # the fifth: second row, second column
    assert (sheet[8:12, 18:24] == 255).all()  # an empty place
    assert images.grid(columns=5, pad=0).shape == (4, 30, 3)
    assert decode(images._repr_png_() or b"").shape == sheet.shape


@pytest.mark.parametrize("options", [{"columns": 0}, {"pad": -1}, {"background": 256}])
def test_grid_refuses_nonsense(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="grid"):
        Images(np.zeros((1, 2, 2, 3), np.uint8)).grid(**options)


def test_images_refuse_other_arrays() -> None:
    for bad in (np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 4), np.uint8)):
        with pytest.raises(InputError, match="uint8"):
            Images(bad)
    with pytest.raises(InputError, match="1 entries of metadata for 2"):
        Images(np.zeros((2, 4, 4, 3), np.uint8), [{}])


def test_failed_save_leaves_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(path, photo())
    old = path.read_bytes()
    with pytest.raises(InputError, match="keyword"):
        save_png(path, photo(), {"": "x"})
    with pytest.raises(InputError, match="uint8"):
        save_png(path, np.zeros((4, 4, 3)))
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["a.png"]
