"""DPT's image processor: resize to multiples, rescale, normalize, pad."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppdiffusers.transformers.image_processing_utils import ImageProcessor, resize, to_size_dict


class DPTImageProcessor(ImageProcessor):
    """Convert images to `pixel_values` [B, 3, H, W] in float32, with the settings and results of transformers.

    Args:
        size: {"height": h, "width": w}, or one number for both.
        resample: number of PIL's resampling filter (3: bicubic).
        keep_aspect_ratio: scale height and width by the same factor, the one that is closer to 1.
        ensure_multiple_of: round height and width to multiples of it.
        do_pad: pad with zeros to multiples of `size_divisor`.
        size_divisor: see `do_pad`.
        do_reduce_labels: setting for segmentation maps, which are not supported; only saved.
    """

    image_processor_type = "DPTImageProcessor"

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
        self.size = to_size_dict(384 if size is None else size, "height", "width")
        self.keep_aspect_ratio, self.ensure_multiple_of = keep_aspect_ratio, ensure_multiple_of
        self.do_rescale, self.rescale_factor = do_rescale, rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = [0.5, 0.5, 0.5] if image_mean is None else image_mean
        self.image_std = [0.5, 0.5, 0.5] if image_std is None else image_std
        self.do_pad, self.size_divisor = do_pad, size_divisor
        self.do_reduce_labels = do_reduce_labels

    def _resize(self, array: np.ndarray) -> np.ndarray:  # [H, W, C] -> [height, width, C]
        if not self.do_resize:
            return array
        height, width = self._target_size(*array.shape[:2])
        return resize(array, height, width, self.resample)

    def _target_size(self, height: int, width: int) -> tuple[int, int]:
        scale_height, scale_width = self.size["height"] / height, self.size["width"] / width
        if self.keep_aspect_ratio:
            closer = scale_width if abs(1 - scale_width) < abs(1 - scale_height) else scale_height
            scale_height = scale_width = closer
        multiple = self.ensure_multiple_of
        # a size that rounds to 0 is rounded up
        new_height, new_width = (
            round(pixels / multiple) * multiple or math.ceil(pixels / multiple) * multiple
            for pixels in (scale_height * height, scale_width * width)
        )
        return new_height, new_width

    def _rescale_and_normalize(self, array: np.ndarray) -> np.ndarray:
        array = super()._rescale_and_normalize(array)
        if not self.do_pad:
            return array
        return np.pad(array, [*(_padding(pixels, self.size_divisor) for pixels in array.shape[:2]), (0, 0)])


# name in legacy folders
DPTFeatureExtractor = DPTImageProcessor


def _padding(pixels: int, divisor: int) -> tuple[int, int]:
    """Return the padding before and after, up to the next multiple; an odd number has the extra pixel at the end."""
    total = -pixels % divisor
    return total // 2, total - total // 2
