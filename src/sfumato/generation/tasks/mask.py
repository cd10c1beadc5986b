"""Masks: which pixels of a picture are to be made new, where that is among latents, and what is put back afterwards."""

from __future__ import annotations

import numpy as np

from sfumato.errors import InputError

__all__ = ["check_mask", "enlarged", "pasted", "reduced"]


def check_mask(mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The mask as bool (H, W), true where the picture (H, W, C) is to be made new.

    Args:
        mask: bool (H, W), or uint8 (H, W) or (H, W, 1): white is new; from 128 on a grey counts as white.
        picture: what it belongs to.

    Raises:
        InputError: for a mask of another kind or of another size than the picture, and for one that is all black or
            all white.
    """
    flat = mask[:, :, 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
    if flat.ndim != 2 or flat.dtype not in (np.bool_, np.uint8):
        raise InputError(f"a mask must be bool or uint8 (H, W), not {mask.dtype} {mask.shape}")
    if flat.shape != picture.shape[:2]:
        (height, width), (full_height, full_width) = flat.shape, picture.shape[:2]
        raise InputError(
            f"the mask is {width}x{height}, the picture {full_width}x{full_height}; save the mask in the picture's size"
        )
    new = flat if flat.dtype == np.bool_ else np.greater_equal(flat, 128)
    if not new.any():
        raise InputError("the mask is all black, so nothing is to be made new; white is what is made")
    if new.all():
        raise InputError("the mask is all white, so nothing of the picture is kept; that is what `sample` does")
    return new


def enlarged(picture: np.ndarray, sides: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A larger canvas, and the mask of what is new on it.

    Args:
        picture: uint8 (H, W, C).
        sides: pixels to add on the left, at the top, on the right and at the bottom.

    Returns:
        The picture on its canvas, its border pixels repeated outwards, (H', W', C); and the mask, bool (H', W').

    Raises:
        InputError: for numbers below 0, or none above.
    """
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 0 for side in sides) or not any(sides):
        raise InputError(f"outpainting adds pixels on the left, top, right and bottom, 0 or more of each, not {sides}")
    left, top, right, bottom = sides
    around = ((top, bottom), (left, right))
    new = np.pad(np.zeros(picture.shape[:2], bool), around, constant_values=True)
    return np.pad(picture, (*around, (0, 0)), mode="edge"), new


def reduced(new: np.ndarray, factor: int) -> np.ndarray:
    """The mask (H, W) among latents that stand for factor x factor pixels each: new where any of its pixels is.

    Raises `InputError` when nothing that is known fills a whole latent position.
    """
    height, width = new.shape
    latent = np.any(new.reshape(height // factor, factor, width // factor, factor), axis=(1, 3))
    if latent.all():
        raise InputError(
            f"what the mask keeps is nowhere as large as the {factor}x{factor} pixels that one position of the latent "
            "stands for; keep more of the picture"
        )
    return latent


def pasted(made: np.ndarray, picture: np.ndarray, new: np.ndarray, feather: int = 0) -> np.ndarray:
    """What was made where the mask is, the picture itself elsewhere.

    Args:
        made: uint8 (N, H, W, C).
        picture: uint8 (H, W, C).
        new: bool (H, W).
        feather: f; 0 keeps every known byte. Otherwise a known pixel at a distance of d ≤ f pixels from what is new (in
            the larger of both directions) is 1 - d/(f + 1) of what was made, which hides a seam.

    Raises:
        InputError: for a negative feather.
    """
    if isinstance(feather, bool) or not isinstance(feather, int) or feather < 0:
        raise InputError(f"feather is a number of pixels, 0 or more, not {feather!r}")
    if feather == 0:
        return np.where(new[:, :, None], made, picture)
    share, reached = new.astype(np.float64), new
    for _ in range(feather):
        reached = _grown(reached)
        share += reached
    weight = (share / (feather + 1))[:, :, None]
    return np.rint(weight * made + (1 - weight) * picture).astype(np.uint8)


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and all neighbours of it, diagonal ones too."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    return np.any([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
