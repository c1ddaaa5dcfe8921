"""CLIP's image processor: resize the shorter side, cut out the middle, scale and normalise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ppdiffusers.transformers.image_processing_utils import ImageProcessor, as_size, resize

OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPImageProcessor(ImageProcessor):
    """Pictures to `pixel_values` [B, 3, H, W] float32; settings and results as in the original library.

    Args:
        size: {"shortest_edge": n} keeps the proportions, {"height": h, "width": w} does not; a number is n.
        resample: PIL's number of the filter (3: bicubic).
        crop_size: {"height": h, "width": w}, or a number for both.
    """

    published_name = "CLIPImageProcessor"

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
        self.size = as_size({"shortest_edge": 224} if size is None else size, "shortest_edge")
        self.do_center_crop = do_center_crop
        self.crop_size = as_size(224 if crop_size is None else crop_size, "height", "width")
        self.do_rescale, self.rescale_factor = do_rescale, rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = list(OPENAI_CLIP_MEAN) if image_mean is None else image_mean
        self.image_std = list(OPENAI_CLIP_STD) if image_std is None else image_std
        self.do_convert_rgb = do_convert_rgb

    def _sized(self, array: np.ndarray) -> np.ndarray:
        if self.do_resize:
            array = resize(array, *_target_size(array.shape[:2], self.size), self.resample)
        if self.do_center_crop:
            array = _center_crop(array, self.crop_size["height"], self.crop_size["width"])
        return array


# Older folders name it so.
CLIPFeatureExtractor = CLIPImageProcessor


def _target_size(now: tuple[int, int], size: Mapping[str, int]) -> tuple[int, int]:
    if "shortest_edge" not in size:
        return size["height"], size["width"]
    short, long = min(now), max(now)
    new_short, new_long = size["shortest_edge"], int(size["shortest_edge"] * long / short)
    return (new_short, new_long) if now[0] <= now[1] else (new_long, new_short)


def _center_crop(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle; where the picture is smaller it is framed with zeros."""
    have_h, have_w = array.shape[:2]
    top, left = (have_h - height) // 2, (have_w - width) // 2
    if top >= 0 and left >= 0 and top + height <= have_h and left + width <= have_w:
        return array[top : top + height, left : left + width]
    frame_h, frame_w = max(height, have_h), max(width, have_w)
    framed = np.zeros((frame_h, frame_w, array.shape[2]), dtype=array.dtype)
    at_h, at_w = -(-(frame_h - have_h) // 2), -(-(frame_w - have_w) // 2)
    framed[at_h : at_h + have_h, at_w : at_w + have_w] = array
    top, left = top + at_h, left + at_w
    return framed[max(0, top) : min(frame_h, top + height), max(0, left) : min(frame_w, left + width)]
