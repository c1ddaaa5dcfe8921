"""DPT's image processor: resize to multiples, scale and normalise, pad."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppdiffusers.transformers.image_processing_utils import ImageProcessor, as_size, resize


class DPTImageProcessor(ImageProcessor):
    """Pictures to `pixel_values` [B, 3, H, W] float32; settings and results as in the original library.

    Args:
        size: {"height": h, "width": w}, or a number for both.
        resample: PIL's number of the filter (3: bicubic).
        keep_aspect_ratio: scale both sides alike, by what is nearer to 1.
        ensure_multiple_of: sides are rounded to multiples of it.
        do_pad, size_divisor: put zeros around, to multiples of `size_divisor`.
        do_reduce_labels: of segmentation maps, which are not processed here; kept in the file.
    """

    published_name = "DPTImageProcessor"

    def __init__(
        self,
        do_resize: bool = True,
        size: Mapping[str, int] | int | None = None,
        resample: int = 3,
        keep_aspect_ratio: bool = False,
        ensure_multiple_of: int = 1,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: float | list[float] | None = None,
        image_std: float | list[float] | None = None,
        do_pad: bool = False,
        size_divisor: int | None = None,
        do_reduce_labels: bool = False,
        **kwargs: Any,
    ):
        self.do_resize, self.resample = do_resize, int(resample)
        self.size = as_size(384 if size is None else size, "height", "width")
        self.keep_aspect_ratio, self.ensure_multiple_of = keep_aspect_ratio, ensure_multiple_of
        self.do_rescale, self.rescale_factor = do_rescale, rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = [0.5, 0.5, 0.5] if image_mean is None else image_mean
        self.image_std = [0.5, 0.5, 0.5] if image_std is None else image_std
        self.do_pad, self.size_divisor = do_pad, size_divisor
        self.do_reduce_labels = do_reduce_labels

    def _sized(self, array: np.ndarray) -> np.ndarray:
        if not self.do_resize:
            return array
        height, width = self._target_size(*array.shape[:2])
        return resize(array, height, width, self.resample)

    def _target_size(self, height: int, width: int) -> tuple[int, int]:
        down, across = self.size["height"] / height, self.size["width"] / width
        if self.keep_aspect_ratio:
            down = across = across if abs(1 - across) < abs(1 - down) else down
        multiple = self.ensure_multiple_of
        # a side that rounds to nothing is rounded up
        return tuple(
            round(side / multiple) * multiple or math.ceil(side / multiple) * multiple
            for side in (down * height, across * width)
        )

    def _scaled(self, array: np.ndarray) -> np.ndarray:
        array = super()._scaled(array)
        if not self.do_pad:
            return array
        return np.pad(array, [*(_around(side, self.size_divisor) for side in array.shape[:2]), (0, 0)])


# Older folders name it so.
DPTFeatureExtractor = DPTImageProcessor


def _around(side: int, divisor: int) -> tuple[int, int]:
    """What is missing to a multiple, on both sides; an odd one more at the end."""
    missing = -side % divisor
    return missing // 2, missing - missing // 2
