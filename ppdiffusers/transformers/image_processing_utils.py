"""What the image processors share: files, lists of pictures, resizing by PIL, scaling and normalising."""

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
from ppdiffusers.io.required_files import NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.transformers.tokenization_utils import BatchEncoding


class ImageProcessor:
    """Base of the image processors: pictures to `pixel_values` [B, 3, H, W] float32.

    A subclass keeps its settings as attributes, `do_rescale` and `do_normalize` among them, and resizes in `_sized`.

    Class attributes:
        published_name: of the class in the original library.
        do_convert_rgb: whether PIL pictures of other modes are converted; a setting in some subclasses.
    """

    published_name = ""
    do_convert_rgb = True
    config_file = "preprocessor_config.json"
    model_input_names = ("pixel_values",)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None, **kwargs: Any) -> Any:
        """Load from a folder or a hub's model with preprocessor_config.json (old and new forms).

        `kwargs` replace its settings; `source`, `revision`, ... say where to look for a name.
        """
        options = pop_hub_options(kwargs)
        folder = resolve_folder(name_or_path, subfolder, NamedFiles((cls.config_file,)), options)
        settings = read_json(folder / cls.config_file)
        return cls(**{**settings, **kwargs})

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "image_processor_type": self.published_name}

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

    def _one(self, image: Any) -> np.ndarray:
        """A picture -> its pixel values [3, H, W]."""
        if self.do_convert_rgb and isinstance(image, Image.Image):
            image = image.convert("RGB")
        array = self._scaled(self._sized(channels_last(np.asarray(image))))
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def _sized(self, array: np.ndarray) -> np.ndarray:
        """[H, W, C] -> the size that the settings say."""
        return array

    def _scaled(self, array: np.ndarray) -> np.ndarray:
        """[H, W, C] -> the same, rescaled and normalised as the settings say."""
        if self.do_rescale:
            array = (array.astype(np.float64) * self.rescale_factor).astype(np.float32)
        if self.do_normalize:
            array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)
            mean, std = (np.asarray(v, dtype=array.dtype) for v in (self.image_mean, self.image_std))
            array = (array - mean) / std
        return array


def resize(array: np.ndarray, height: int, width: int, resample: int) -> np.ndarray:
    """[H, W, C] -> [height, width, C] by PIL's filter number `resample`.

    Raises:
        InputError: values that are neither 0 to 1 nor whole numbers.
    """
    scaled = np.issubdtype(array.dtype, np.floating) and not np.all(array == array.astype(np.int64))
    if scaled and not (array.min() >= 0 and array.max() <= 1):
        raise InputError(
            f"Picture values run from {array.min():.3g} to {array.max():.3g}.",
            expected="0 to 1 for fractions, 0 to 255 for whole numbers",
        )
    # fractions go through 8 bits and back, as the original library's resizing does
    as_bytes = (array * 255 if scaled else array).astype(np.uint8)
    picture = Image.fromarray(as_bytes.squeeze(-1) if as_bytes.shape[-1] == 1 else as_bytes)
    resized = np.asarray(picture.resize((width, height), resample=resample))
    resized = resized[..., None] if resized.ndim == 2 else resized
    return (resized.astype(np.float64) / 255).astype(np.float32) if scaled else resized


def as_size(size: Any, *keys: str) -> dict[str, int]:
    """A size as a dictionary; a number stands for each of the keys."""
    return dict(size) if isinstance(size, Mapping) else dict.fromkeys(keys, int(size))


def _as_list(images: Any) -> list:
    if isinstance(images, (list, tuple)):
        return list(images)
    array = None if isinstance(images, Image.Image) else np.asarray(images)
    return list(array) if array is not None and array.ndim == 4 else [images]


def channels_last(array: np.ndarray) -> np.ndarray:
    """[H, W], [H, W, C] or [C, H, W] -> [H, W, C].

    Raises:
        InputError: it is no picture of one or three channels.
    """
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3 or (array.shape[0] not in (1, 3) and array.shape[-1] not in (1, 3)):
        raise InputError(f"A picture has shape {array.shape}.", expected="[H, W, 3], [3, H, W], or one channel")
    return array.transpose(1, 2, 0) if array.shape[0] in (1, 3) else array
