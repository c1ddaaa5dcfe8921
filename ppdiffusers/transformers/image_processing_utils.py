"""Base class of the image processors: files, batches, resizing with PIL, rescaling, normalization."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppdiffusers.core.config_types import built_from_configuration, create
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import expand_user, replace_file
from ppdiffusers.core.reading import read_json
from ppdiffusers.io.required_files import NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.transformers.tokenization_utils import BatchEncoding

if TYPE_CHECKING:
    from typing_extensions import Self

ImageInput = Image.Image | np.ndarray | Sequence[Image.Image] | Sequence[np.ndarray]


class ImageProcessor:
    """Base class of the image processors, which convert images to `pixel_values` [B, 3, H, W] in float32.

    A subclass has its settings as attributes, including those below, and implements `_resize`.

    Class attributes:
        image_processor_type: name of the class in transformers.
        do_convert_rgb: convert PIL images of other modes to RGB; a setting in some subclasses.
    """

    image_processor_type = ""
    do_convert_rgb = True
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: float | list[float]
    image_std: float | list[float]
    config_file = "preprocessor_config.json"
    model_input_names = ("pixel_values",)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None, **kwargs: Any) -> Self:
        """Load from a folder or a hub repository with a preprocessor_config.json, current or legacy.

        Args:
            name_or_path: a folder, or the name of a repository.
            subfolder: folder of the image processor in it.
            kwargs: settings that override those of the file, and hub options such as `source` and `revision`.

        Raises:
            ConfigError: the file is missing or damaged, or has values of wrong types.
        """
        options = pop_hub_options(kwargs)
        folder = resolve_folder(name_or_path, subfolder, NamedFiles((cls.config_file,)), options)
        file = folder / cls.config_file
        settings = {**read_json(file), **kwargs}
        with built_from_configuration(cls.__name__, file):
            return create(cls, settings)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "image_processor_type": self.image_processor_type}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write preprocessor_config.json."""
        with replace_file(expand_user(save_directory) / self.config_file) as staging:
            staging.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def __call__(self, images: ImageInput, return_tensors: str | None = None, **kwargs: Any) -> BatchEncoding:
        return self.preprocess(images, return_tensors=return_tensors, **kwargs)

    def preprocess(self, images: ImageInput, return_tensors: str | None = None, **overrides: Any) -> BatchEncoding:
        """Process one image or a list of images.

        Args:
            images: PIL images, arrays [H, W, C] or [C, H, W], or an array of rank 4.
            return_tensors: "pd" for a Paddle tensor, "np" for an array, None for a list of arrays.
            overrides: settings for this call.

        Raises:
            InputError: an argument is unknown, or an image is unsupported.
        """
        if return_tensors not in (None, "pd", "np"):
            raise InputError(f"return_tensors={return_tensors!r} is not supported.", expected='"pd", "np" or None')
        unknown = [
            f"{key}={value!r}" for key, value in overrides.items() if key not in vars(self) and value is not None
        ]
        if unknown:
            raise InputError(
                f"{type(self).__name__} does not have these settings.", problems=unknown, expected=", ".join(vars(self))
            )
        overrides = {key: value for key, value in overrides.items() if value is not None}
        processor = type(self)(**{**vars(self), **overrides}) if overrides else self
        pixels = [processor._preprocess_one(image) for image in _as_list(images)]
        if return_tensors is None:
            return BatchEncoding(pixel_values=pixels)
        stacked = np.stack(pixels)
        if return_tensors == "pd":
            import paddle

            stacked = paddle.to_tensor(stacked)
        return BatchEncoding(pixel_values=stacked)

    def _preprocess_one(self, image: Image.Image | np.ndarray) -> np.ndarray:  # [3, H, W]
        if self.do_convert_rgb and isinstance(image, Image.Image):
            image = image.convert("RGB")
        array = self._rescale_and_normalize(self._resize(channels_last(np.asarray(image))))  # [H, W, 3]
        return np.ascontiguousarray(array.transpose(2, 0, 1))

    def _resize(self, array: np.ndarray) -> np.ndarray:
        """Resize [H, W, C] according to the settings."""
        return array

    def _rescale_and_normalize(self, array: np.ndarray) -> np.ndarray:
        """Rescale and normalize [H, W, C] according to the settings."""
        if self.do_rescale:
            array = (array.astype(np.float64) * self.rescale_factor).astype(np.float32)
        if self.do_normalize:
            array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)
            mean, std = (np.asarray(v, dtype=array.dtype) for v in (self.image_mean, self.image_std))
            array = (array - mean) / std
        return array


def resize(array: np.ndarray, height: int, width: int, resample: int) -> np.ndarray:
    """Resize [H, W, C] to [height, width, C] with PIL's filter number `resample`.

    Raises:
        InputError: floating-point values are outside [0, 1] and not integers.
    """
    fractional = np.issubdtype(array.dtype, np.floating) and not np.all(array == array.astype(np.int64))
    if fractional and not (array.min() >= 0 and array.max() <= 1):
        raise InputError(
            f"The image has values from {array.min():.3g} to {array.max():.3g}.",
            expected="floating-point values from 0 to 1, or integer values from 0 to 255",
        )
    # transformers converts floating-point images to 8 bits for resizing too
    levels = (array * 255 if fractional else array).astype(np.uint8)
    image = Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels)
    resized = np.asarray(image.resize((width, height), resample=resample))
    resized = resized[..., None] if resized.ndim == 2 else resized
    return (resized.astype(np.float64) / 255).astype(np.float32) if fractional else resized


def to_size_dict(size: Mapping[str, int] | int, *keys: str) -> dict[str, int]:
    """Convert a size to a dictionary; a number is the value of each of the keys."""
    return dict(size) if isinstance(size, Mapping) else dict.fromkeys(keys, int(size))


def _as_list(images: ImageInput) -> list[Image.Image | np.ndarray]:
    if isinstance(images, (list, tuple)):
        return list(images)
    array = None if isinstance(images, Image.Image) else np.asarray(images)
    return list(array) if array is not None and array.ndim == 4 else [images]


def channels_last(array: np.ndarray) -> np.ndarray:
    """Convert [H, W], [H, W, C] or [C, H, W] to [H, W, C].

    Raises:
        InputError: the array is not an image with one or three channels.
    """
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3 or (array.shape[0] not in (1, 3) and array.shape[-1] not in (1, 3)):
        raise InputError(f"An image has shape {array.shape}.", expected="[H, W, 3], [3, H, W], or one channel")
    return array.transpose(1, 2, 0) if array.shape[0] in (1, 3) else array
