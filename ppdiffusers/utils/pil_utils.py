"""Grids of images."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ppdiffusers.core.errors import InputError


def make_image_grid(images: Sequence[Image.Image], rows: int, cols: int, resize: int | None = None) -> Image.Image:
    """Make one image of `rows` x `cols` images, filled row by row.

    Args:
        images: exactly rows * cols images; each cell has the size of the first one.
        rows: number of rows.
        cols: number of columns.
        resize: width and height in pixels to which every image is resized first.

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
