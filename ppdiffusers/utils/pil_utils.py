"""PIL images: interpolation modes, conversions and grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ppdiffusers.core.errors import InputError

if TYPE_CHECKING:
    import paddle

PIL_INTERPOLATION: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "linear": Image.Resampling.BILINEAR,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def numpy_to_pil(images: np.ndarray) -> list[Image.Image]:
    """Convert an array [B, H, W, C] or [H, W, C] with values in [0, 1]; one channel gives grayscale images."""
    batch = images[None] if images.ndim == 3 else images  # [B, H, W, C]
    levels = (batch * 255).round().astype(np.uint8)
    if levels.shape[-1] == 1:
        levels = levels[..., 0]  # [B, H, W]
    return [Image.fromarray(level) for level in levels]


def pd_to_pil(images: paddle.Tensor) -> list[Image.Image]:
    """Convert a tensor [B, C, H, W] with values in [-1, 1]."""
    levels = (images.astype("float32") / 2 + 0.5).clip(0, 1)
    return numpy_to_pil(levels.numpy().transpose(0, 2, 3, 1))  # [B, H, W, C]


pt_to_pil = pd_to_pil  # diffusers' name


def make_image_grid(images: Sequence[Image.Image], rows: int, cols: int, resize: int | None = None) -> Image.Image:
    """Arrange images in a grid, row by row.

    Args:
        images: exactly rows * cols images; each cell has the size of the first one.
        rows: number of rows.
        cols: number of columns.
        resize: height and width in pixels to which every image is resized first.

    Raises:
        InputError: the number of images is not rows * cols.
    """
    if len(images) != rows * cols or not images:
        raise InputError(
            "The images do not fill the grid.",
            where=f"{len(images)} images, {rows} rows, {cols} columns",
            expected=f"{rows * cols} images",
        )
    if resize is not None:
        images = [image.resize((resize, resize)) for image in images]
    width, height = images[0].size
    grid = Image.new("RGB", (cols * width, rows * height))
    for index, image in enumerate(images):
        grid.paste(image, (index % cols * width, index // cols * height))
    return grid
