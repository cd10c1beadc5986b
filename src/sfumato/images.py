"""Pictures at the edge of the program: decode what may be hostile, resize without aliasing, save whole files.

Inside Sfumato a picture is uint8 (H, W, C), C = 3 (sRGB) or 1 (grey). Only numpy and Pillow are used here.
"""

from __future__ import annotations

import io
import math
import operator
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
from PIL import Image, ImageCms, ImageColor, PngImagePlugin, UnidentifiedImageError

from sfumato.errors import InputError
from sfumato.files import atomic_path, check_writable

__all__ = [
    "Images",
    "TooManyPixelsError",
    "decode",
    "fit",
    "hasten",
    "opened",
    "orientation",
    "pad",
    "pixels",
    "save_png",
    "shown",
    "stretch",
]

MAX_PIXELS = 64_000_000
# Nothing else is tried: some of Pillow's readers start other programs (EPS runs Ghostscript).
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")

# EXIF orientation -> what turns the stored picture upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TooManyPixelsError(InputError):
    """A picture's header declares more pixels than the limit; nothing was decoded."""


def decode(
    source: Path | bytes, *, max_pixels: int = MAX_PIXELS, background: str = "white", mode: str = "RGB"
) -> np.ndarray:
    """Decode one picture completely, upright and in sRGB.

    The pixel limit is read from the header before anything is decoded. EXIF orientation is honoured; CMYK and
    embedded colour profiles become sRGB (a broken profile is ignored); transparency is composited on `background`;
    16-bit grey is divided by 257; of several frames the first counts. 16-bit colour keeps its high byte.

    Args:
        source: a file, or the content of one. PNG, JPEG, WebP, BMP, GIF, TIFF and AVIF are known.
        max_pixels: most pixels (width x height); Pillow's own limit of about 179 million holds besides.
        background: any CSS colour.
        mode: "RGB" or "L" (grey).

    Returns:
        uint8 (H, W, 3) for "RGB", (H, W, 1) for "L".

    Raises:
        InputError: the picture cannot be used; the message names it and says what is wrong
            (`TooManyPixelsError` for one beyond the limit).
    """
    with opened(source, max_pixels=max_pixels) as image:
        return pixels(image, background=background, mode=mode)


@contextmanager
def opened(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open a picture whose header is sound and within `max_pixels`; its pixels are still to be decoded.

    Whatever is raised, here or in the body, becomes an `InputError` that names the picture: do only what concerns
    the picture in the body.
    """
    name = shown(source)
    try:
        # is_file() also keeps us from waiting for ever on a named pipe
        if isinstance(source, Path) and not source.is_file():
            raise InputError("no such file" if not source.exists() else "not a file")
        with _open_header(source) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise TooManyPixelsError(f"{width} x {height} pixels are more than the limit of {max_pixels:,}")
            yield image
    except InputError as error:
        raise type(error)(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a picture in a known format ({', '.join(_FORMATS)})") from error
    except Exception as error:
        # On damaged files Pillow raises nearly anything: OSError, SyntaxError, ValueError, struct.error, KeyError, …
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{name}: cannot be decoded, {shown(reason) or type(error).__name__}") from error


def pixels(image: Image.Image, *, background: str = "white", mode: str = "RGB") -> np.ndarray:
    """The pixels of an opened picture, by the rules of `decode`: uint8 (H, W, 3) or (H, W, 1)."""
    if mode not in ("RGB", "L"):
        raise InputError(f"the mode of a picture is 'RGB' or 'L', not {mode!r}")
    backdrop = _colour(background, "RGB")
    image.load()
    turn = _UPRIGHT.get(orientation(image))  # asked after load(), which turns TIFFs upright by itself
    profile = image.info.get("icc_profile")
    if image.mode == "F":
        raise InputError("samples are floating-point numbers of unknown range, save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    alpha = None
    if image.has_transparency_data:
        full = image.convert("RGBA")
        alpha = full.getchannel("A")
        image = image.convert("L") if image.mode == "LA" else full  # a grey picture's colour profile is one for grey
    image = _to_srgb(image, profile)
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, backdrop), alpha)
    if turn is not None:
        image = image.transpose(turn)
    array = np.array(image.convert(mode))
    return array if array.ndim == 3 else array[:, :, None]


def hasten(image: Image.Image, size: tuple[int, int]) -> None:
    """Let an opened JPEG be decoded at 1/2, 1/4 or 1/8, as long as three times (height, width) of `size` are left.

    Of what is to be shrunk that much nothing visible is lost: a scaled decoding is the mean of blocks of pixels. It
    reads all of the file, so that damage is found all the same. Other formats are left alone.
    """
    if image.format == "JPEG":
        side = 3 * max(size)  # whichever way up it is
        image.draft(None, (side, side))


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 … 8; 1 (upright) where there is none or the EXIF block cannot be read."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block is no reason to refuse a sound picture, and raises nearly anything
        return 1
    return value if value in range(1, 9) else 1


def fit(
    image: np.ndarray, size: int | tuple[int, int], *, share: float = 1.0, at: tuple[float, float] = (0.5, 0.5)
) -> np.ndarray:
    """Resize so that the picture covers the target, then crop. Always antialiased, in sRGB values.

    Args:
        image: uint8 (H, W, 1) or (H, W, 3).
        size: side of a square, or (height, width), in pixels.
        share: side of what is kept, as a share of the largest rectangle of the target's shape in the picture, (0, 1].
        at: where that lies: down and right, from 0 (top, left) to 1 (bottom, right); by default in the centre.

    Returns:
        uint8 (height, width, C). Lanczos when shrinking, bicubic when enlarging, untouched pixels at scale 1.
    """
    height, width = _height_and_width(size)
    picture = _pillow(image)
    if not (0 < share <= 1 and all(0 <= place <= 1 for place in at)):
        raise InputError(f"no crop: {share=} lies in (0, 1], and {at=} between 0 and 1")
    full_height, full_width = image.shape[:2]
    scale = share * min(full_height / height, full_width / width)  # source pixels to a target pixel
    if scale == 1:
        # whole pixels only: half a pixel of offset would blur
        top, left = int((full_height - height) * at[0]), int((full_width - width) * at[1])
        return image[top : top + height, left : left + width].copy()
    # rounding must not carry the box beyond the picture
    h, w = min(height * scale, full_height), min(width * scale, full_width)
    top, left = (full_height - h) * at[0], (full_width - w) * at[1]
    return _resized(picture, (height, width), (left, top, min(left + w, full_width), min(top + h, full_height)))


def pad(image: np.ndarray, size: int | tuple[int, int], background: str = "white") -> np.ndarray:
    """Resize so that the picture just lies within the target, in its centre; the rest is `background`.

    Args:
        image: uint8 (H, W, 1) or (H, W, 3).
        size: side of a square, or (height, width), in pixels.
        background: any CSS colour.

    Returns:
        uint8 (height, width, C), filtered as by `fit`.
    """
    height, width = _height_and_width(size)
    picture = _pillow(image)
    full_height, full_width, channels = image.shape
    scale = max(full_height / height, full_width / width)
    h, w = (min(max(1, round(full / scale)), most) for full, most in ((full_height, height), (full_width, width)))
    padded = np.array(Image.new(picture.mode, (width, height), _colour(background, picture.mode)))
    top, left = (height - h) // 2, (width - w) // 2
    whole = (0.0, 0.0, float(full_width), float(full_height))
    inner = image if (h, w) == (full_height, full_width) else _resized(picture, (h, w), whole)
    padded = padded.reshape(height, width, channels)
    padded[top : top + h, left : left + w] = inner
    return padded


def stretch(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize height and width each as it must, which distorts all pictures but those of the target's shape.

    Args:
        image: uint8 (H, W, 1) or (H, W, 3).
        size: side of a square, or (height, width), in pixels.

    Returns:
        uint8 (height, width, C), filtered as by `fit`.
    """
    to, picture = _height_and_width(size), _pillow(image)
    height, width = image.shape[:2]
    return image.copy() if (height, width) == to else _resized(picture, to, (0.0, 0.0, float(width), float(height)))


def _resized(picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """What lies in `box` (left, top, right, bottom), as (height, width, C) of `size`."""
    height, width = size
    shrinks = box[2] - box[0] > width or box[3] - box[1] > height
    resized = picture.resize(
        (width, height),
        Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC,
        box=box,
        reducing_gap=3.0,  # first shrinks by a whole factor where much is to be shrunk: faster, no visible difference
    )
    return np.array(resized).reshape(height, width, -1)


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise InputError(f"the size of a picture must be at least 1 x 1, not {height} x {width}")
    return height, width


def _colour(background: str, mode: str) -> int | tuple[int, ...]:
    try:
        return ImageColor.getcolor(background, mode)
    except ValueError as error:
        raise InputError(f"{background!r} is no colour for the background: write 'white' or '#ffffff'") from error


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures of one size.

    Attributes:
        array: (N, H, W, C) uint8, C = 1 or 3.
        metadata: for each picture the texts that go into its PNG file, or nothing at all.
    """

    array: np.ndarray
    metadata: Sequence[Mapping[str, str]] = ()

    def __post_init__(self) -> None:
        shape = self.array.shape
        if self.array.dtype != np.uint8 or self.array.ndim != 4 or shape[3] not in (1, 3):
            raise InputError(f"images must be uint8 (N, H, W, 1 or 3), not {self.array.dtype} {shape}")
        if self.metadata and len(self.metadata) != len(self.array):
            raise InputError(f"{len(self.metadata)} entries of metadata for {len(self.array)} pictures")

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        _, height, width, channels = self.array.shape
        return f"Images({len(self)} of {height}x{width}, {'RGB' if channels == 3 else 'grey'})"

    @overload
    def __getitem__(self, index: SupportsIndex) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: SupportsIndex | slice) -> np.ndarray | Images:
        """One picture (H, W, C), or a slice as `Images`."""
        if isinstance(index, slice):
            return Images(self.array[index], self.metadata[index] if self.metadata else ())
        return self.array[operator.index(index)]

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.array)

    def save(self, folder: Path | str) -> list[Path]:
        """Write `0000.png`, `0001.png`, … into `folder`, each whole or not at all; return their paths."""
        folder = Path(folder)
        check_writable(folder, self.array.nbytes)
        paths = [folder / f"{i:04d}.png" for i in range(len(self))]
        for i, path in enumerate(paths):
            save_png(path, self.array[i], self.metadata[i] if self.metadata else None)
        return paths

    def grid(self, columns: int | None = None, pad: int = 2, background: int = 255) -> np.ndarray:
        """All pictures on one sheet, row by row: uint8 (rows * (H + pad) + pad, columns * (W + pad) + pad, C).

        Args:
            columns: pictures in a row; by default the sheet is nearly square.
            pad: pixels around each picture.
            background: grey level of the padding and of empty places, 0 … 255.
        """
        count, height, width, channels = self.array.shape
        columns = math.ceil(math.sqrt(count)) if columns is None else columns
        if count == 0 or columns < 1 or pad < 0 or not 0 <= background <= 255:
            raise InputError(f"no grid of {count} pictures: {columns=}, {pad=}, {background=} (0 … 255)")
        rows = math.ceil(count / columns)
        shape = (rows * (height + pad) + pad, columns * (width + pad) + pad, channels)
        sheet = np.full(shape, background, np.uint8)
        for i, picture in enumerate(self.array):
            top, left = pad + i // columns * (height + pad), pad + i % columns * (width + pad)
            sheet[top : top + height, left : left + width] = picture
        return sheet

    def _repr_png_(self) -> bytes | None:
        if len(self) == 0:
            return None
        buffer = io.BytesIO()
        _pillow(self.grid()).save(buffer, "PNG")
        return buffer.getvalue()


def save_png(path: Path | str, array: np.ndarray, metadata: Mapping[str, str] | None = None) -> None:
    """Write a picture, uint8 (H, W, 1 or 3), as PNG with `metadata` as its text chunks; whole or not at all."""
    picture, texts = _pillow(array), PngImagePlugin.PngInfo()
    for key, value in (metadata or {}).items():
        if not (1 <= len(key) <= 79 and key.isascii() and key.isprintable()):
            raise InputError(f"a PNG keyword has 1 … 79 printable ASCII characters, unlike {key!r}")
        texts.add_text(key, value)
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG", pnginfo=texts)


def shown(source: Path | str | bytes) -> str:
    """The name of a picture as it may be printed: control characters and undecodable bytes are escaped."""
    if isinstance(source, bytes):
        return f"picture of {len(source)} bytes"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(source))


_header_lock = threading.Lock()


def _open_header(source: Path | bytes) -> Image.Image:
    # Pillow warns from 89 million pixels on; our own limit decides. Changing warning filters is not thread-safe.
    with _header_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> "L" by division by 257 (65535 -> 255); with a transparent value -> "LA"."""
    values = np.asarray(image).astype(np.int32)
    if values.min() < 0 or values.max() > 65535:
        raise InputError("samples lie outside 0 … 65535, save it with 8 or 16 bits")
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to "RGB" through the embedded colour profile, or plainly where there is none or a broken one."""
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None  # None is for in-place work only
            return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a broken profile, or one for another kind of pixels: the plain conversion below is the best guess
    return image.convert("RGB")


def _pillow(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3) or array.size == 0:
        raise InputError(f"a picture must be uint8 (H, W, 1 or 3), not {array.dtype} {array.shape}")
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
