"""CLIP's image processor: resize the shorter side, cut out the middle, scale and normalise."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import replace_file
from ppdiffusers.io.needs import NeedFiles
from ppdiffusers.io.source import resolve_folder, take_source_options
from ppdiffusers.transformers.tokenization_utils import BatchEncoding

OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class CLIPImageProcessor:
    """Pictures to `pixel_values` [B, 3, H, W] float32; settings and results as in the original library.

    Args:
        size: {"shortest_edge": n} keeps the proportions, {"height": h, "width": w} does not; a number is n.
        resample: PIL's number of the filter (3: bicubic).
        crop_size: {"height": h, "width": w}, or a number for both.
    """

    config_file = "preprocessor_config.json"
    model_input_names = ("pixel_values",)

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
        self.size = _as_size({"shortest_edge": 224} if size is None else size, "shortest_edge")
        self.do_center_crop = do_center_crop
        self.crop_size = _as_size(224 if crop_size is None else crop_size, "height", "width")
        self.do_rescale, self.rescale_factor = do_rescale, rescale_factor
        self.do_normalize = do_normalize
        self.image_mean = list(OPENAI_CLIP_MEAN) if image_mean is None else image_mean
        self.image_std = list(OPENAI_CLIP_STD) if image_std is None else image_std
        self.do_convert_rgb = do_convert_rgb

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None, **kwargs: Any) -> Any:
        """Load from a folder or a hub's model with preprocessor_config.json (old and new forms).

        `kwargs` replace its settings; `source`, `revision`, ... say where to look for a name.
        """
        options = take_source_options(kwargs)
        folder = resolve_folder(name_or_path, subfolder, NeedFiles((cls.config_file,)), options)
        settings = read_json(folder / cls.config_file)
        return cls(**{**settings, **kwargs})

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "image_processor_type": "CLIPImageProcessor"}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write preprocessor_config.json."""
        with replace_file(Path(save_directory) / self.config_file) as staging:
            staging.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def __call__(self, images: Any, return_tensors: str | None = None, **kwargs: Any) -> BatchEncoding:
        return self.preprocess(images, return_tensors=return_tensors, **kwargs)

    def preprocess(self, images: Any, return_tensors: str | None = None, **overrides: Any) -> BatchEncoding:
        """Process a picture or a list of them: PIL, or arrays [H, W, C] or [C, H, W].

        Args:
            return_tensors: "pd" for a Paddle tensor, "np" for an array, None for a list of arrays.
            overrides: settings for this call only.
        """
        if return_tensors not in (None, "pd", "np"):
            raise InputError(f"return_tensors={return_tensors!r} is not possible here.", expected='"pd", "np" or None')
        unknown = [
            f"{key}={value!r}" for key, value in overrides.items() if key not in vars(self) and value is not None
        ]
        if unknown:
            raise InputError(
                "The image processor does not know these arguments.", problems=unknown, expected=", ".join(vars(self))
            )
        overrides = {key: value for key, value in overrides.items() if value is not None}
        worker = type(self)(**{**vars(self), **overrides}) if overrides else self
        pixels = [worker._one(image) for image in _as_list(images)]
        if return_tensors is None:
            return BatchEncoding(pixel_values=pixels)
        stacked = np.stack(pixels)
        if return_tensors == "pd":
            import paddle

            stacked = paddle.to_tensor(stacked)
        return BatchEncoding(pixel_values=stacked)

    def _one(self, image: Any) -> np.ndarray:  # [3, H, W]
        if self.do_convert_rgb and isinstance(image, Image.Image):
            image = image.convert("RGB")
        array = _channels_last(np.asarray(image))
        if self.do_resize:
            array = self._resize(array)
        if self.do_center_crop:
            array = _center_crop(array, self.crop_size["height"], self.crop_size["width"])
        if self.do_rescale:
            array = (array.astype(np.float64) * self.rescale_factor).astype(np.float32)
        if self.do_normalize:
            array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)
            mean, std = (np.asarray(v, dtype=array.dtype) for v in (self.image_mean, self.image_std))
            array = (array - mean) / std
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def _resize(self, array: np.ndarray) -> np.ndarray:
        height, width = _target_size(array.shape[:2], self.size)
        scaled = np.issubdtype(array.dtype, np.floating) and not np.all(array == array.astype(np.int64))
        if scaled and not (array.min() >= 0 and array.max() <= 1):
            raise InputError(
                f"Picture values run from {array.min():.3g} to {array.max():.3g}.",
                expected="0 to 1 for fractions, 0 to 255 for whole numbers",
            )
        # fractions go through 8 bits and back, as the original library's resizing does
        as_bytes = (array * 255 if scaled else array).astype(np.uint8)
        picture = Image.fromarray(as_bytes.squeeze(-1) if as_bytes.shape[-1] == 1 else as_bytes)
        resized = np.asarray(picture.resize((width, height), resample=self.resample))
        resized = resized[..., None] if resized.ndim == 2 else resized
        return (resized.astype(np.float64) / 255).astype(np.float32) if scaled else resized


# Older folders name it so.
CLIPFeatureExtractor = CLIPImageProcessor


def _as_size(size: Any, *keys: str) -> dict[str, int]:
    return dict(size) if isinstance(size, Mapping) else dict.fromkeys(keys, int(size))


def _as_list(images: Any) -> list:
    if isinstance(images, (list, tuple)):
        return list(images)
    array = None if isinstance(images, Image.Image) else np.asarray(images)
    return list(array) if array is not None and array.ndim == 4 else [images]


def _channels_last(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3 or (array.shape[0] not in (1, 3) and array.shape[-1] not in (1, 3)):
        raise InputError(f"A picture has shape {array.shape}.", expected="[H, W, 3], [3, H, W], or one channel")
    return array.transpose(1, 2, 0) if array.shape[0] in (1, 3) else array


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
