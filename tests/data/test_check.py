"""`check_folder` names what is broken or odd, and reads pictures just as `read_folder` does."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data.check import check_folder
from sfumato.errors import InputError


def textured(height: int = 24, width: int = 32, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_clean_folder_is_ok(tmp_path: Path) -> None:
    textured(seed=1).save(tmp_path / "a.png")
    textured(48, 20, seed=2).save(tmp_path / "b.jpg")
    textured(30, 30, seed=3).save(tmp_path / "c.png")
    report = check_folder(tmp_path)
    assert report.ok
    assert report.pictures == 3
    assert report.formats == {"PNG": 2, "JPEG": 1}
    assert (report.widths, report.heights) == ((20, 30, 32), (24, 30, 48))
    for found in (report.corrupt, report.tiny, report.huge, report.duplicates, report.odd, report.others):
        assert not found
    assert "All is well." in report.text()
    assert "near-duplicates" in report.text()


@pytest.mark.parametrize("workers", [0, 3])
def test_everything_off_is_named(tmp_path: Path, workers: int) -> None:
    plain = textured()
    plain.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)  # the same picture, upright
    plain.convert("RGBA").save(tmp_path / "alpha.png")
    plain.convert("CMYK").save(tmp_path / "cmyk.jpg")
    plain.save(tmp_path / "moving.gif", save_all=True, append_images=[textured(seed=9)])
    plain.convert("L").convert("RGB").save(tmp_path / "grey.png")
    plain.convert("L").save(tmp_path / "honest-grey.png")
    Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 256).save(tmp_path / "deep.png")
    textured(20, 100).save(tmp_path / "panorama.png")
    textured(8, 8).save(tmp_path / "tiny.png")
    textured(300, 300).save(tmp_path / "huge.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "plain.png").read_bytes()[:900])
    (tmp_path / "notes.txt").write_text("hello")
    report = check_folder(tmp_path, workers=workers, huge=50_000)
    assert not report.ok
    assert [name for name, _ in report.corrupt] == ["torn.png"]
    assert report.huge == ("huge.png",)
    assert report.tiny == ("tiny.png",)
    assert report.others == ("notes.txt",)
    assert report.duplicates == (("alpha.png", "plain.png", "turned.png"), ("grey.png", "honest-grey.png"))
    assert set(report.odd.values()) == {
        ("alpha.png",),
        ("cmyk.jpg",),
        ("moving.gif",),
        ("grey.png",),
        ("deep.png",),
        ("panorama.png",),
        ("turned.png",),
    }
    text = report.text()
    for word in ("torn.png", "huge.png", "tiny.png", "notes.txt", "CMYK", "16 bits", "frames", "4 times", "EXIF"):
        assert word in text


def test_16_bit_colour_is_noticed(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(range(6 * 16)) for _ in range(16))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert check_folder(tmp_path).odd == {"have 16 bits a sample": ("deep.png",)}


def test_metadata_is_checked_too(tmp_path: Path) -> None:
    textured().save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "absent.png"}')
    assert check_folder(tmp_path).corrupt == (("absent.png", "no such file"),)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "../a.png"}')
    report = check_folder(tmp_path)
    assert not report.ok
    assert "line 1" in report.corrupt[0][1]
    assert report.others == ()


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    report = check_folder(tmp_path)
    assert not report.ok
    assert "0 usable pictures" in report.text()
    with pytest.raises(InputError, match="no such folder"):
        check_folder(tmp_path / "absent")
