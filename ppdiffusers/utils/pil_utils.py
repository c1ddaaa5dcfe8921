"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ppdiffusers.core.errors import InputError


def make_image_grid(images: Sequence[Image.Image], rows: int, cols: int, resize: int | None = None) -> Image.Image:
    """One picture of `rows` x `cols` pictures, filled row by row.

    Args:
        images: exactly rows * cols pictures; each cell has the size of the first one.
        rows: how many rows.
        cols: how many columns.
        resize: width and height in pixels that every picture is brought to first.

    Raises:
        InputError: there are more or fewer pictures than cells.
    """
    if len(images) != rows * cols or not images:
        raise InputError(
            "The pictures do not fill the grid.",
            where=f"{len(images)} pictures, {rows} rows, {cols} columns",
            expected=f"{rows * cols} pictures",
        )
    if resize is not None:
        images = [image.resize((resize, resize)) for image in images]
    width, height = images[0].size
    grid = Image.new("RGB", (cols * width, rows * height))
    for index, image in enumerate(images):
        grid.paste(image, (index % cols * width, index // cols * height))
    return grid
