"""Convert PIL images of every mode to 8-bit RGB or grayscale."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image

from ppdiffusers.core.errors import InputError

# Modes that PIL resizes and converts to "RGB" and "L" as they are.
_DIRECT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert an image of any mode to "RGB".

    Transparent images are composited over white. See `to_grayscale` for the values of modes with more than 8 bits.

    Raises:
        InputError: the values of the image are outside of the range of its mode.
    """
    image = _to_8_bits(image)
    if not has_transparency(image):
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    background = PIL.Image.new("RGBA", image.size, "white")
    return PIL.Image.alpha_composite(background, rgba).convert("RGB")


def rgb_images(image: Any) -> Any:
    """Convert a PIL image, or each PIL image of a list, to RGB; other values are unchanged."""
    if isinstance(image, PIL.Image.Image):
        return to_rgb(image)
    if isinstance(image, (list, tuple)):
        return [to_rgb(one) if isinstance(one, PIL.Image.Image) else one for one in image]
    return image


def to_grayscale(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert an image of any mode to "L"; transparency is ignored, as in diffusers.

    Values are scaled to 0..255 by the range of the mode: 0 and 1 for "1", 0..65535 for "I;16". The modes "I" and "F"
    have no fixed range, so the maximum decides: "F" is 0..1, 0..255 or 0..65535, "I" is 0..255 or 0..65535.

    Raises:
        InputError: the values of the image are outside of the range of its mode.
    """
    image = _to_8_bits(image)
    return (image.convert("RGB") if image.mode == "LAB" else image).convert("L")


def is_direct(image: PIL.Image.Image, ignore_alpha: bool = False) -> bool:
    """Return whether PIL can resize the image before its mode is converted, as diffusers does."""
    if ignore_alpha:
        return image.mode in (*_DIRECT, "LA", "PA", "RGBA")
    return image.mode in _DIRECT and not has_transparency(image)


def has_transparency(image: PIL.Image.Image) -> bool:
    """Return whether the image has an alpha channel, a transparent color, or a palette with alpha."""
    palette = image.palette.mode if image.mode == "P" and image.palette is not None else ""
    return "transparency" in image.info or image.mode.lower().endswith("a") or palette.endswith("A")


def _to_8_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Scale modes with more than 8 bits to "L", and undo premultiplied alpha; other images are unchanged."""
    if image.mode in _PREMULTIPLIED:
        return image.convert(_PREMULTIPLIED[image.mode])
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)  # [H, W]
    levels = (values * (255 / _limit(image.mode, values))).round().astype(np.uint8)
    return PIL.Image.fromarray(levels)


def _limit(mode: str, values: np.ndarray) -> float:
    """The value that is white."""
    limits = {"I": (255, 65535), "F": (1, 255, 65535)}.get(mode, (65535,))
    lowest, highest = values.min(), values.max()
    for limit in limits:
        if lowest >= 0 and highest <= limit:
            return limit
    raise InputError(
        f"An image of mode {mode} has values from {lowest:g} to {highest:g}.",
        expected=" or ".join(f"0 to {limit}" for limit in limits),
        remedy="scale it, and convert it to the mode 'L' or 'RGB'.",
    )
