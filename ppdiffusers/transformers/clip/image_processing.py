"""CLIP's image processor: resize, center crop, rescale, normalize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppdiffusers.transformers.image_processing_utils import ImageProcessor, resize, to_size_dict

OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPImageProcessor(ImageProcessor):
    """Convert images to `pixel_values` [B, 3, H, W] in float32, with the settings and results of transformers.

    Args:
        size: {"shortest_edge": n} keeps the aspect ratio, {"height": h, "width": w} does not; a number is n.
        resample: number of PIL's resampling filter (3: bicubic).
        crop_size: {"height": h, "width": w}, or one number for both.
    """

    image_processor_type = "CLIPImageProcessor"

    def __init__(
        self,
        do_resize: bool = True,
        size: Mapping[str, int] | int | None = None,
        resample: int = 3,
        do_center_crop: bool = True,
        crop_size: Mapping[str, int] | int | None = None,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: float | list[float] | None = None,
        image_std: float | list[float] | None = None,
        do_convert_rgb: bool = True,
        **kwargs: Any,
    ):
        self.do_resize, self.resample = do_resize, int(resample)
        self.size = to_size_dict({"shortest_edge": 224} if size is None else size, "shortest_edge")
        self.do_center_crop = do_center_crop
        self.crop_size = to_size_dict(224 if crop_size is None else crop_size, "height", "width")
        self.do_rescale, self.rescale_factor = do_rescale, rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = list(OPENAI_CLIP_MEAN) if image_mean is None else image_mean
        self.image_std = list(OPENAI_CLIP_STD) if image_std is None else image_std
        self.do_convert_rgb = do_convert_rgb

    def _resize(self, array: np.ndarray) -> np.ndarray:  # [H, W, C] -> [height, width, C]
        if self.do_resize:
            array = resize(array, *_target_size((array.shape[0], array.shape[1]), self.size), self.resample)
        if self.do_center_crop:
            array = _center_crop(array, self.crop_size["height"], self.crop_size["width"])
        return array


# name in legacy folders
CLIPFeatureExtractor = CLIPImageProcessor


def _target_size(shape: tuple[int, int], size: Mapping[str, int]) -> tuple[int, int]:
    """Return the height and width to resize an image of `shape` (height, width) to."""
    if "shortest_edge" not in size:
        return size["height"], size["width"]
    short, long = min(shape), max(shape)
    new_short, new_long = size["shortest_edge"], int(size["shortest_edge"] * long / short)
    return (new_short, new_long) if shape[0] <= shape[1] else (new_long, new_short)


def _center_crop(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop the center of [H, W, C]; a smaller image is padded with zeros."""
    image_height, image_width = array.shape[:2]
    top, left = (image_height - height) // 2, (image_width - width) // 2
    if top >= 0 and left >= 0 and top + height <= image_height and left + width <= image_width:
        return array[top : top + height, left : left + width]
    padded_height, padded_width = max(height, image_height), max(width, image_width)
    padded = np.zeros((padded_height, padded_width, array.shape[2]), dtype=array.dtype)
    pad_top, pad_left = -(-(padded_height - image_height) // 2), -(-(padded_width - image_width) // 2)
    padded[pad_top : pad_top + image_height, pad_left : pad_left + image_width] = array
    top, left = top + pad_top, left + pad_left
    return padded[max(0, top) : min(padded_height, top + height), max(0, left) : min(padded_width, left + width)]
